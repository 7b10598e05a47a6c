"""A manifest's facts about the graph that an engine is built from: its tensors, and how much of it is quantized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from core.errors import UserError
from deploy.apply.bake import INPUT_NAME, OUTPUT_NAME
from deploy.graph.opgraph import DEQUANTIZE, QUANTIZE

_CONVOLUTIONS = {"Conv", "ConvTranspose"}
_BAKED_LAYOUTS = {INPUT_NAME: "NHWC", OUTPUT_NAME: "NHW"}
PIXEL_LAYOUT = "NHWC"
_BYTES = {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}  # pictures
_LAYOUTS = {2: "NC", 4: "NCHW"}  # ONNX's own, by rank


def read_graph(path: Path) -> Any:
    """The `onnx.GraphProto` of a file; raises `UserError` when it is not ONNX."""
    try:
        return onnx.load(str(path), load_external_data=False).graph
    except Exception as error:  # protobuf raises its own DecodeError type, which differs between builds
        raise UserError(f"{path} cannot be read as ONNX", why=str(error)) from error


def tensors_of(graph: Any) -> dict[str, list[dict[str, Any]]]:
    """Name, dtype, shape and layout of each input and output; a dynamic side is its name, or None without one.

    `layout` is one letter for each side (batch, classes or channels, height, width), or None where it is not known.
    """
    constants = {item.name for item in graph.initializer}  # older exporters list them as inputs, too
    inputs = [item for item in graph.input if item.name not in constants]
    return {kind: [_tensor(item) for item in items] for kind, items in (("inputs", inputs), ("outputs", graph.output))}


def quantized_in(graph: Any) -> dict[str, int]:
    """How many activations and weights pass through Q/DQ, and how many convolutions read both of theirs from it.

    `unsigned_activations` are the part of `activations` that becomes uint8.
    """
    types = {item.name: item.data_type for item in graph.initializer}
    types |= {node.output[0]: _constant_type(node) for node in graph.node if node.op_type == "Constant"}
    quantizers = [node for node in graph.node if node.op_type == QUANTIZE]
    activations = [node for node in quantizers if node.input[0] not in types]
    stored = {node.input[0] for node in graph.node if node.op_type == DEQUANTIZE and node.input[0] in types}
    floats = {node.input[0] for node in quantizers if node.input[0] in types}
    dequantized = {node.output[0] for node in graph.node if node.op_type == DEQUANTIZE}
    convolutions = [node for node in graph.node if node.op_type in _CONVOLUTIONS]
    return {
        "activations": len({node.input[0] for node in activations}),
        "unsigned_activations": len({node.input[0] for node in activations if _is_unsigned(node, types)}),
        "weights": len(stored | floats),
        "convolutions": len(convolutions),
        "quantized_convolutions": sum(dequantized.issuperset(node.input[:2]) for node in convolutions),
    }


def _tensor(item: Any) -> dict[str, Any]:
    kind = item.type.tensor_type
    shape = [_side(side) for side in kind.shape.dim]
    return {
        "name": item.name,
        "dtype": onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name,
        "shape": shape,
        "layout": PIXEL_LAYOUT if kind.elem_type in _BYTES and len(shape) == 4 else layout_of(item.name, len(shape)),
    }


def layout_of(name: str, rank: int) -> str | None:
    """One letter for each side of a graph input or output; None where it is not known."""
    return _BAKED_LAYOUTS.get(name, _LAYOUTS.get(rank))


def _side(side: Any) -> int | str | None:
    return int(side.dim_value) if side.HasField("dim_value") else side.dim_param or None


def _constant_type(node: Any) -> int:
    return next((int(attribute.t.data_type) for attribute in node.attribute if attribute.name == "value"), 0)


def _is_unsigned(node: Any, types: dict[str, int]) -> bool:
    """Without a zero point QuantizeLinear makes uint8 (ONNX operator QuantizeLinear)."""
    has_zero = len(node.input) > 2 and node.input[2]
    return not has_zero or types.get(node.input[2]) == onnx.TensorProto.UINT8
