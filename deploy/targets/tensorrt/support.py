"""The GPUs and drivers that an installed package supports; TensorRT has no list of GPUs, hence the table."""

from __future__ import annotations

import re
from importlib import metadata

from deploy.hardware.cuda_driver import Driver, Gpu
from deploy.targets.base import Unavailable
from deploy.targets.tensorrt.vendor import Capability, Release, Vendor

# By first release: oldest compute capability, and newest (None: its builder decides).
# Sources: TensorRT release notes 8.5.2 (Maxwell stays until 9.0), 10.0.1 and 10.5.0 (Volta deprecated, removed), 10.8.0
# (Blackwell added); support matrix 10.1.0 (SM 7.0 or higher, H100 the newest).
_TENSORRT: dict[tuple[int, int], tuple[Capability, Capability | None]] = {
    (8, 6): ((5, 0), (9, 0)),
    (10, 0): ((7, 0), (9, 0)),
    (10, 5): ((7, 5), (9, 0)),
    (10, 8): ((7, 5), None),
}
_ADVISED = (10, 0)  # older releases are not suggested where a newer one runs
# Oldest driver release by CUDA major version. Source: NVIDIA CUDA Compatibility, "Minor Version Compatibility".
_DRIVER_RELEASE = {11: 450, 12: 525, 13: 580}


def unsupported(driver: Driver, vendor: Vendor) -> Unavailable | None:
    """None when the installed package runs on the first GPU, which sessions use; else the reason and a fix."""
    if driver.problem:
        return Unavailable(driver.problem, driver.fix)
    return _old_driver(driver, vendor) or _foreign_gpu(driver.gpus[0], vendor)


def has_kernels(release: Release, capability: Capability) -> bool:
    """Return True if a release of TensorRT runs on GPUs of this compute capability."""
    own = [row for since, row in _TENSORRT.items() if since <= release]
    return not own or _within(capability, own[-1])


def _old_driver(driver: Driver, vendor: Vendor) -> Unavailable | None:
    needed = _cuda_major(vendor)
    if needed is None or driver.cuda is None or driver.cuda[0] >= needed:
        return None
    release = f" (release {_DRIVER_RELEASE[needed]} or later)" if needed in _DRIVER_RELEASE else ""
    return Unavailable(
        f"{_name(vendor)} needs a driver for CUDA {needed}, this one is too old ({driver})",
        f"update the NVIDIA driver{release}, or install the package for CUDA {driver.cuda[0]}",
    )


def _foreign_gpu(gpu: Gpu, vendor: Vendor) -> Unavailable | None:
    capability = _numbers(gpu.compute_capability)
    if vendor.has_kernels(vendor.release(), capability):
        return None
    return Unavailable(
        f"{_name(vendor)} has no kernels for compute capability {gpu.compute_capability} ({gpu.name})",
        _other(capability),
    )


def _other(capability: Capability) -> str:
    """The fix: the newest TensorRT with kernels for this GPU, or OpenVINO and ONNX Runtime, which need no GPU."""
    fit = [since for since, row in _TENSORRT.items() if _within(capability, row)]
    if not fit:
        return "use OpenVINO or ONNX Runtime, which run on the CPU"
    removed = [since for since in _TENSORRT if since > fit[-1]]
    if removed:
        return "install a TensorRT before {}.{}".format(*removed[0])
    major, minor = max(fit[0], _ADVISED)
    return f"install TensorRT {major}.{minor} or later" if minor else f"install TensorRT {major} or later"


def _within(capability: Capability, row: tuple[Capability, Capability | None]) -> bool:
    oldest, newest = row
    return oldest <= capability and (newest is None or capability <= newest)


def _cuda_major(vendor: Vendor) -> int | None:
    """13 of a wheel that brings `tensorrt_rtx_cu13`; None for a TensorRT that came without pip."""
    needs = " ".join(metadata.requires(vendor.package) or [])
    found = re.search(r"_cu(\d+)", needs)
    return int(found[1]) if found else None


def _name(vendor: Vendor) -> str:
    """`TensorRT-RTX 1.7`."""
    return "{} {}.{}".format(vendor.title, *vendor.release())


def _numbers(text: str) -> Capability:
    major, minor = text.split(".")
    return int(major), int(minor)
