"""The inference engines this project builds for: one folder each, and one line in the registries below.

Vendor packages are imported only when one is used.
"""

from __future__ import annotations

from dataclasses import replace

from core.errors import UserError
from deploy.apply.target import PORTABLE, Fallback, Target
from deploy.hardware.cpu import multiplies_uint8
from deploy.targets.base import Backend
from deploy.targets.onnxruntime import target as _onnxruntime
from deploy.targets.openvino import target as _openvino
from deploy.targets.tensorrt import target as _tensorrt
from deploy.targets.tensorrt.build import strongly_typed, vendor_title

BACKEND_NAMES = ("openvino", "onnxruntime", "trt")
TARGETS: dict[str, Target] = {
    item.name: item for item in (PORTABLE, _tensorrt.TARGET, _openvino.TARGET, _onnxruntime.TARGET)
}


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


def target_for(name: str, fallback: Fallback = "fp32") -> Target:
    """The target of that name, as this machine builds it.

    Without VNNI or AMX, x86 kernels add two products of uint8 and int8 in 16 bits: there int8 stays. The fallback
    precision is written into the graph for strongly typed builders; TensorRT 8.6 takes it from a builder flag.

    Raises:
        UserError: no such target.
    """
    if name not in TARGETS:
        raise UserError(f"no target {name!r}", fix=f"targets: {', '.join(TARGETS)}")
    target = TARGETS[name] if multiplies_uint8() else replace(TARGETS[name], unsigned="never")
    return replace(target, fallback=fallback) if name == "tensorrt" and strongly_typed() else target
