"""The NVIDIA GPUs of this machine, as the CUDA driver's own library counts them.

The library is everywhere a GPU can be used: on WSL2, which has no device files, and on Jetson, which has no nvidia-smi.
Source: NVIDIA CUDA Driver API, "Initialization", "Version Management", "Device Management", "Error Handling"; NVIDIA
NVML API, "System Queries"; CUDA on WSL User Guide for the library's folder there.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

CUDA_LIBRARIES = ("libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1")
NVML_LIBRARIES = ("libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1")

_SUCCESS = 0
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
_TEXT_BYTES = 256
_MIB = 1 << 20


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU; `compute_capability` is written as NVIDIA does, "8.9"."""

    name: str
    memory_mib: int
    compute_capability: str


@dataclass(frozen=True)
class Driver:
    """The installed CUDA driver.

    Attributes:
        gpus: GPUs that CUDA programs may use, in CUDA's order; empty when `problem` is set.
        cuda: newest CUDA that the driver supports, as (13, 0); None without a driver.
        release: release of the driver, as "580.65.06"; "" where NVML is missing, as on some Jetsons.
        problem, fix: the reason for a missing GPU, and a remedy.
    """

    gpus: tuple[Gpu, ...] = ()
    cuda: tuple[int, int] | None = None
    release: str = ""
    problem: str = ""
    fix: str = ""

    def __str__(self) -> str:
        cuda = f"CUDA up to {self.cuda[0]}.{self.cuda[1]}" if self.cuda else "CUDA unknown"
        return f"driver {self.release}, {cuda}" if self.release else cuda


class _CallFailed(Exception):
    """A function of the driver returned an error; the message is the driver's text for it."""


def look() -> Driver:
    """The driver and its GPUs; a driver that is missing or broken is a `problem`, never an exception."""
    library = _load(CUDA_LIBRARIES)
    if library is None:
        return Driver(
            problem=f"no NVIDIA driver: {CUDA_LIBRARIES[0]} cannot be loaded",
            fix="install the NVIDIA driver (on Windows for WSL2); start a container with --gpus all",
        )
    cuda = _cuda_version(library)
    release = _release()
    try:
        _call(library, "cuInit", 0)
        count = ctypes.c_int()
        _call(library, "cuDeviceGetCount", ctypes.byref(count))
        gpus = tuple(_gpu(library, number) for number in range(count.value))
    except _CallFailed as error:
        fix = "run nvidia-smi; check CUDA_VISIBLE_DEVICES, and that driver and kernel module are of one release"
        return Driver(cuda=cuda, release=release, problem=f"the CUDA driver reports: {error}", fix=fix)
    if not gpus:
        return Driver(
            cuda=cuda, release=release, problem="the CUDA driver lists no GPU", fix="set CUDA_VISIBLE_DEVICES"
        )
    return Driver(gpus, cuda, release)


def _load(names: tuple[str, ...]) -> Any:
    """The first of these libraries that loads; None if all fail."""
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _call(library: Any, function: str, *arguments: Any) -> None:
    code = getattr(library, function)(*arguments)
    if code != _SUCCESS:
        text = ctypes.c_char_p()
        library.cuGetErrorString(code, ctypes.byref(text))
        raise _CallFailed(f"{(text.value or b'unknown error').decode()} ({function}, error {code})")


def _cuda_version(library: Any) -> tuple[int, int] | None:
    """(13, 0) of 13000; needs no `cuInit`."""
    version = ctypes.c_int()
    if library.cuDriverGetVersion(ctypes.byref(version)) != _SUCCESS or not version.value:
        return None
    return version.value // 1000, version.value % 1000 // 10


def _gpu(library: Any, number: int) -> Gpu:
    device, memory, name = ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(_TEXT_BYTES)
    _call(library, "cuDeviceGet", ctypes.byref(device), number)
    _call(library, "cuDeviceGetName", name, _TEXT_BYTES, device)
    _call(library, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    capability = []
    for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
        value = ctypes.c_int()
        _call(library, "cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
        capability.append(str(value.value))
    return Gpu(name.value.decode(), memory.value // _MIB, ".".join(capability))


def _release() -> str:
    nvml = _load(NVML_LIBRARIES)
    if nvml is None or nvml.nvmlInit_v2() != _SUCCESS:
        return ""
    text = ctypes.create_string_buffer(_TEXT_BYTES)
    found = nvml.nvmlSystemGetDriverVersion(text, _TEXT_BYTES) == _SUCCESS
    nvml.nvmlShutdown()
    return text.value.decode() if found else ""
