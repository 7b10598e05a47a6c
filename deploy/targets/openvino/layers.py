"""Layers of a compiled OpenVINO model by `primitiveType`: `runtimePrecision` also calls float kernels i8."""

from __future__ import annotations

from typing import Any

from deploy.targets.base import LayerInfo, Tensor

_CONVOLUTIONS = {"Convolution", "GroupConvolution", "Deconvolution"}
_PRECISION_BY_SUFFIX = {"i8": "int8", "u8": "int8", "bf16": "bf16", "f16": "fp16", "f32": "fp32"}
_DTYPES = {**_PRECISION_BY_SUFFIX, "i32": "int32", "i64": "int64", "boolean": "bool"}
_NEVER_EXECUTED = "unknown_"  # begins the `primitiveType` of constants, inputs, outputs and reshapes in place


def kind_of(layer_type: str) -> str:
    """ "Conv" for every convolution, else OpenVINO's own name."""
    return "Conv" if layer_type in _CONVOLUTIONS else layer_type


def precision_of(primitive: str) -> str:
    """The precision of a kernel, from the end of its `primitiveType`."""
    return _PRECISION_BY_SUFFIX.get(primitive.lower().rpartition("_")[2], "unknown")


def layer_of(operation: Any) -> LayerInfo:
    info = {key: value.astype(str) for key, value in operation.get_rt_info().items()}
    primitive = info.get("primitiveType", "")
    runs = not (primitive.startswith(_NEVER_EXECUTED) or _is_constant(operation))
    sources = [(port, _is_constant(port.get_source_output().get_node())) for port in operation.inputs()] if runs else []
    return LayerInfo(
        name=operation.get_friendly_name(),
        kind=kind_of(info["layerType"]),
        precision=precision_of(primitive),
        detail=primitive,
        origin=tuple(filter(None, info.get("originalLayersNames", "").split(","))),
        inputs=tuple(_tensor(port) for port, constant in sources if not constant),
        constants=tuple(_tensor(port) for port, constant in sources if constant),
        outputs=tuple(map(_tensor, operation.outputs())) if runs else (),
    )


def _is_constant(node: Any) -> bool:
    """Return True for a constant, also after reshapes and copies that are computed once."""
    sources = [port.get_source_output().get_node() for port in node.inputs()]
    kind = node.get_rt_info()["layerType"].astype(str)
    return kind == "Const" or (bool(sources) and all(map(_is_constant, sources)))


def _tensor(port: Any) -> Tensor:
    sides = port.get_partial_shape()
    shape = tuple(side.get_length() if side.is_static else 1 for side in sides)
    return Tensor(shape, _DTYPES.get(port.get_element_type().get_type_name(), "unknown"))
