"""The reason why TensorRT did not load an engine, where its library gives one.

TensorRT-RTX answers by `Runtime.get_engine_validity`; TensorRT only logs. Source: TensorRT-RTX 1.1 release notes,
"Engine Validity API", and the members of its `EngineInvalidityDiagnostics`.
"""

from __future__ import annotations

from typing import Any

from core.cli.naming import by_make
from core.errors import UnsupportedEnvironment

_FIXES = {
    "UNSUPPORTED_CC": "add this GPU's to deploy.tensorrt.compute_capabilities, then build the engine again",
    "OLD_CUDA_DRIVER": "update the NVIDIA driver",
    "OLD_CUDA_RUNTIME": "update the NVIDIA driver and the CUDA runtime",
    "INSUFFICIENT_GPU_MEMORY": "free GPU memory: end other programs on this GPU",
    "CUDA_ERROR": f"check the NVIDIA driver with `{by_make('doctor')}`",
}
_REBUILD = "build the engine again on this machine"


def refusal(trt: Any, runtime: Any, engine: bytes) -> UnsupportedEnvironment:
    """The error to raise for an engine that `runtime` refused.

    Args:
        trt: `tensorrt` or `tensorrt_rtx`.
        runtime: the `Runtime` that returned no engine.
    """
    causes = _causes(trt, runtime, engine)
    fix = next((_FIXES[cause] for cause in causes if cause in _FIXES), _REBUILD)
    why = ", ".join(cause.lower().replace("_", " ") for cause in causes) or "see TensorRT's errors above"
    return UnsupportedEnvironment("TensorRT cannot load the engine on this GPU", why=why, fix=fix)


def _causes(trt: Any, runtime: Any, engine: bytes) -> list[str]:
    """Names of the bits that RTX sets; none from full TensorRT."""
    if not hasattr(runtime, "get_engine_validity"):
        return []
    _, found = runtime.get_engine_validity(engine)
    return [name for name, flag in trt.EngineInvalidityDiagnostics.__members__.items() if int(found) & int(flag)]
