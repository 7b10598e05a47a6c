"""The vendor's names that this project calls, as the vendor declares them.

TensorRT: the Python bindings in https://github.com/NVIDIA/TensorRT (`python/src/infer/pyCore.cpp` and `pyGraph.cpp`,
`nptype` in `python/packaging`), read at the tags v8.6.1, v10.0.1, v10.9.0, v10.16, v11.0 and v11.1: every name of
`RUNTIME` and `BUILDER` is in all six. TensorRT-RTX: its installed module, which the tests inspect. pycuda: its sources
of 2026.1 (`src/wrapper/wrap_cudadrv.cpp`). CUDA graphs: cuda-python, `cuda.bindings.driver` of 13.5.
"""

from __future__ import annotations

# Names for running an engine, of TensorRT and TensorRT-RTX alike.
RUNTIME = {
    "Runtime": ("deserialize_cuda_engine", "engine_host_code_allowed"),
    "ICudaEngine": (
        "num_io_tensors",
        "get_tensor_name",
        "get_tensor_shape",
        "get_tensor_dtype",
        "get_tensor_mode",
        "get_tensor_profile_shape",
        "create_execution_context",
    ),
    "IExecutionContext": ("set_input_shape", "get_tensor_shape", "set_tensor_address", "execute_async_v3"),
    "TensorIOMode": ("INPUT", "OUTPUT"),
}
FUNCTIONS = ("nptype",)

# Names for building one, of both, without the names that only Polygraphy calls.
BUILDER = {
    "BuilderFlag": ("VERSION_COMPATIBLE",),
    "HardwareCompatibilityLevel": ("AMPERE_PLUS",),
    "IBuilderConfig": ("builder_optimization_level", "hardware_compatibility_level"),
    "INetworkDefinition": ("num_inputs", "get_input"),
    "MemoryPoolType": ("WORKSPACE",),
    "ProfilingVerbosity": ("DETAILED",),
}
# Missing at v8.6.1 and v10.0.1, there from v10.9.0 on: looked up by name.
NEWER = {"HardwareCompatibilityLevel": ("SAME_COMPUTE_CAPABILITY",)}

# TensorRT-RTX alone at the six tags; 11.4 has runtime configs too, but no `CudaGraphStrategy`.
RTX_RUNTIME = {
    "Runtime": ("get_engine_validity",),
    "EngineInvalidityDiagnostics": (
        "VERSION_MISMATCH",
        "UNSUPPORTED_CC",
        "OLD_CUDA_DRIVER",
        "OLD_CUDA_RUNTIME",
        "INSUFFICIENT_GPU_MEMORY",
        "MALFORMED_ENGINE",
        "CUDA_ERROR",
    ),
    "ICudaEngine": ("create_runtime_config",),
    "IRuntimeConfig": ("cuda_graph_strategy",),
    "CudaGraphStrategy": ("WHOLE_GRAPH_CAPTURE",),
}
RTX_BUILDER = {
    "IBuilderConfig": ("num_compute_capabilities", "set_compute_capability"),
    "ComputeCapability": ("SM75", "SM80", "SM86", "SM89", "SM120", "SM121"),
}

PYCUDA = {
    "Device": ("retain_primary_context",),
    "Context": ("push", "pop", "detach"),
    "Stream": ("handle", "synchronize"),
    "Event": ("record", "synchronize", "time_till"),
    "DeviceAllocation": ("free",),
    "PagelockedHostAllocation": ("free",),
}
PYCUDA_FUNCTIONS = ("init", "mem_alloc", "pagelocked_empty", "memcpy_htod_async", "memcpy_dtoh_async")

CUDA_DRIVER = (
    "CUresult",
    "CUstream",
    "CUstreamCaptureMode",
    "cuStreamBeginCapture",
    "cuStreamEndCapture",
    "cuGraphInstantiate",
    "cuGraphLaunch",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
)


def missing(module: object, surface: dict[str, tuple[str, ...]]) -> list[str]:
    """The `Class.member` names of `surface` that `module` lacks."""
    return [
        f"{name}.{member}"
        for name, members in surface.items()
        for member in members
        if not hasattr(getattr(module, name, None), member)
    ]
