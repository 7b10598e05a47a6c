"""GPUs and drivers that the installed TensorRT supports, and fixes for the others."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from deploy.apps import doctor
from deploy.targets import get_backend
from deploy.targets.base import Backend
from deploy.targets.tensorrt import backend as trt_backend
from deploy.targets.tensorrt import support as trt_support
from deploy.targets.tensorrt.vendor import Vendor
from deploy.targets.tensorrt_rtx import backend as rtx_backend
from tests.unit.deploy.hardware.cuda_doubles import (
    GTX_780,
    H100,
    ORIN,
    RTX_4090,
    RTX_5090,
    T4,
    V100,
    CudaLibrary,
    install,
)

RTX = "tensorrt_rtx 1.7.1.116"
RTX_NAMES = ("NONE", "CURRENT", "SM75", "SM80", "SM86", "SM89", "SM120", "SM121")
NEWER = ("NVIDIA GPU of tomorrow", (13, 0))


@pytest.fixture
def vendor(monkeypatch):
    """Pretends that this TensorRT is installed for that CUDA, and pycuda with it; returns its backend."""

    def pretend(version: str, cuda: int | None = 13) -> Backend:
        package, _ = version.split(" ")
        monkeypatch.setattr(Vendor, "version", lambda self: version)
        needs = [f"{package}_cu{cuda}==1"] if cuda else None
        monkeypatch.setattr(trt_support.metadata, "requires", lambda name: needs)
        rtx = SimpleNamespace(ComputeCapability=SimpleNamespace(__members__=dict.fromkeys(RTX_NAMES)))
        monkeypatch.setattr(rtx_backend, "import_module", {"tensorrt_rtx": rtx}.__getitem__)
        monkeypatch.setattr(trt_backend, "missing_package", lambda name: None)
        return get_backend(package)

    return pretend


def test_rtx_on_an_h100_builds_and_cannot_run(monkeypatch, vendor):
    backend = vendor(RTX)
    install(monkeypatch, CudaLibrary(H100), release="580.65.06")
    assert backend.available("int8") is None
    assert str(backend.runnable("int8")) == (
        "TensorRT-RTX 1.7 has no kernels for compute capability 9.0 (NVIDIA H100 80GB HBM3); "
        "fix: install TensorRT 10 or later"
    )
    rows = {found.name: found for found, _, runs in doctor._backend("tensorrt_rtx") if not runs}
    assert set(rows) == {"TensorRT-RTX fp32", "TensorRT-RTX fp16", "TensorRT-RTX int8"}
    assert "compute capability 9.0" in rows["TensorRT-RTX int8"].detail
    assert rows["TensorRT-RTX int8"].fix == "install TensorRT 10 or later"


@pytest.mark.parametrize(
    ("version", "gpu"),
    [
        *((RTX, gpu) for gpu in (RTX_4090, RTX_5090, T4, NEWER)),
        *(("tensorrt 10.9.0.34", gpu) for gpu in (H100, RTX_4090, RTX_5090, T4, ORIN, NEWER)),
        ("tensorrt 10.4.0", V100),
        ("tensorrt 8.6.1", H100),
        ("tensorrt 11.4.0.106", H100),
    ],
)
def test_supported_gpus_run(monkeypatch, vendor, version, gpu):
    backend = vendor(version)
    install(monkeypatch, CudaLibrary(gpu))
    assert backend.available("int8") is None
    assert backend.runnable("int8") is None


@pytest.mark.parametrize(
    ("version", "gpu", "fix"),
    [
        (RTX, V100, "install a TensorRT before 10.5"),
        (RTX, ORIN, "install TensorRT 10 or later"),
        ("tensorrt 10.9.0.34", V100, "install a TensorRT before 10.5"),
        ("tensorrt 8.6.1", RTX_5090, "install TensorRT 10.8 or later"),
        ("tensorrt 10.7.0", RTX_5090, "install TensorRT 10.8 or later"),
        ("tensorrt 10.9.0.34", GTX_780, "use OpenVINO or ONNX Runtime, which run on the CPU"),
    ],
)
def test_gpus_without_kernels_get_a_fix_that_helps(monkeypatch, vendor, version, gpu, fix):
    backend = vendor(version)
    install(monkeypatch, CudaLibrary(gpu))
    missing = backend.runnable("fp16")
    assert missing is not None
    assert f"no kernels for compute capability {gpu[1][0]}.{gpu[1][1]} ({gpu[0]})" in missing.why
    assert missing.fix == fix
    assert (backend.available("fp16") is None) == (version == RTX), "TensorRT builds on the GPU itself"


def test_old_driver_is_named_with_the_release_that_helps(monkeypatch, vendor):
    backend = vendor(RTX)
    install(monkeypatch, CudaLibrary(RTX_4090, version=12040), release="550.54.15")
    missing = backend.runnable("int8")
    assert missing is not None
    assert "needs a driver for CUDA 13" in missing.why and "driver 550.54.15, CUDA up to 12.4" in missing.why
    assert "580 or later" in missing.fix and "for CUDA 12" in missing.fix
    assert backend.available("int8") is None


@pytest.mark.parametrize(("cuda", "version"), [(12, 13000), (12, 12080), (None, 11040)])
def test_newer_drivers_and_tensorrt_without_pip_are_no_problem(monkeypatch, vendor, cuda, version):
    backend = vendor("tensorrt 10.9.0.34", cuda)
    install(monkeypatch, CudaLibrary(RTX_4090, version=version))
    assert backend.runnable("int8") is None


def test_the_first_gpu_counts(monkeypatch, vendor):
    backend = vendor(RTX)
    install(monkeypatch, CudaLibrary(RTX_4090, H100))
    assert backend.runnable("int8") is None
    install(monkeypatch, CudaLibrary(H100, RTX_4090))
    assert backend.runnable("int8") is not None


def test_installed_rtx_lists_its_targets():
    pytest.importorskip("tensorrt_rtx")
    listed = rtx_backend.capabilities()
    assert {(7, 5), (8, 0), (8, 9), (12, 0)} <= listed
    assert (9, 0) not in listed
