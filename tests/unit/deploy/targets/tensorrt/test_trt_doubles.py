"""The doubles of TensorRT, pycuda and cuda-python have the vendors' names, and no others."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.deploy.targets.tensorrt.trt_doubles import INVALIDITY, Engine, ExecutionContext, Machine, RtxEngine
from tests.unit.deploy.targets.tensorrt.trt_surface import (
    CUDA_DRIVER,
    FUNCTIONS,
    PYCUDA,
    PYCUDA_FUNCTIONS,
    RTX_RUNTIME,
    RUNTIME,
    missing,
)


@pytest.mark.parametrize("package", ["tensorrt", "tensorrt_rtx"])
def test_doubles_use_the_vendors_names(package):
    real = pytest.importorskip(package, reason=f"pip install {package}")
    assert missing(real, RUNTIME) == []
    assert missing(real, RTX_RUNTIME) == ([] if package == "tensorrt_rtx" else missing(object(), RTX_RUNTIME))
    assert all(callable(getattr(real, name)) for name in FUNCTIONS)
    assert real.nptype(real.float32) is np.float32


def test_doubles_have_no_member_that_the_vendor_list_lacks():
    machine = Machine()
    doubles = {
        "Runtime": machine.trt.Runtime("logger"),
        "ICudaEngine": Engine(machine),
        "IExecutionContext": ExecutionContext(machine),
        "TensorIOMode": machine.trt.TensorIOMode,
    }
    assert doubles.keys() == RUNTIME.keys()
    for name, double in doubles.items():
        assert {member for member in dir(double) if not member.startswith("_")} == set(RUNTIME[name])
    assert set(vars(machine.trt)) == {"Runtime", "TensorIOMode", *FUNCTIONS}
    assert set(dir(RtxEngine)) - set(dir(Engine)) == set(RTX_RUNTIME["ICudaEngine"])
    rtx = Machine(rtx=True).trt
    assert set(vars(rtx)) - set(vars(machine.trt)) == {"CudaGraphStrategy", "EngineInvalidityDiagnostics"}
    assert set(vars(rtx.CudaGraphStrategy)) == set(RTX_RUNTIME["CudaGraphStrategy"])
    assert set(dir(rtx.Runtime)) - set(dir(machine.trt.Runtime)) == set(RTX_RUNTIME["Runtime"])
    assert set(INVALIDITY) == set(RTX_RUNTIME["EngineInvalidityDiagnostics"])
    assert set(vars(RtxEngine(machine).create_runtime_config())) == set(RTX_RUNTIME["IRuntimeConfig"])
    assert {name for name in vars(machine.driver) if not name.startswith("_")} == set(CUDA_DRIVER)


def test_doubles_of_pycuda_have_no_member_that_its_list_lacks():
    cuda = Machine().cuda
    device = cuda.Device(0)
    doubles = {
        "Device": device,
        "Context": device.retain_primary_context(),
        "Stream": cuda.Stream(),
        "Event": cuda.Event(),
        "DeviceAllocation": cuda.mem_alloc(4),
        "PagelockedHostAllocation": cuda.pagelocked_empty(1, np.float32).base,
    }
    assert doubles.keys() == PYCUDA.keys()
    for name, double in doubles.items():
        assert {member for member in dir(double) if not member.startswith("_")} == set(PYCUDA[name])
    public = {name for name in vars(cuda) if not name.startswith("_")}
    assert public == {"Device", "Stream", "Event", *PYCUDA_FUNCTIONS}


def test_doubles_of_pycuda_use_its_names():
    why = "pycuda is not installed, or there is no driver"
    real = pytest.importorskip("pycuda.driver", reason=why, exc_type=ImportError)
    assert missing(real, PYCUDA) == []
    assert [name for name in PYCUDA_FUNCTIONS if not hasattr(real, name)] == []


def test_graph_doubles_use_the_names_of_cuda_python():
    real = pytest.importorskip("cuda.bindings.driver", reason="cuda-python is not installed; pip install cuda-bindings")
    assert [name for name in CUDA_DRIVER if not hasattr(real, name)] == []
    assert hasattr(real.CUresult, "CUDA_SUCCESS")
    assert hasattr(real.CUstreamCaptureMode, "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL")
