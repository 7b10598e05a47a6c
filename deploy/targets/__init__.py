"""The inference engines this project builds for; vendor packages are imported only when one is used."""

from __future__ import annotations

from core.errors import UserError
from deploy.targets.base import Backend
from deploy.targets.tensorrt.build import vendor_title

BACKEND_NAMES = ("openvino", "onnxruntime", "trt")


def title_of(name: str) -> str:
    """A backend's name in tables and messages: `trt` is the product that is installed, TensorRT or TensorRT-RTX."""
    return vendor_title() if name == "trt" else name


def get_backend(name: str) -> Backend:
    """The backend of that name; raises `UserError` for a name that is not in `BACKEND_NAMES`."""
    from deploy.targets.onnxruntime.backend import ONNXRuntimeBackend
    from deploy.targets.openvino.backend import OpenVINOBackend
    from deploy.targets.tensorrt.backend import TRTBackend

    backends: dict[str, Backend] = {
        backend.name: backend for backend in (OpenVINOBackend(), ONNXRuntimeBackend(), TRTBackend())
    }
    if name not in backends:
        raise UserError(f"no backend {name!r}", why=f"there are {', '.join(BACKEND_NAMES)}")
    return backends[name]
