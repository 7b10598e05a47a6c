"""Converts half-precision graphs to float32: the fallback precision is chosen after placement, not by the toolkit.

    before   x ─▶ Cast(FP16) ─▶ Q ─▶ DQ ─▶ Conv(FP16) ─▶ Cast(FP32) ─▶ y
    after    x ───────────────▶ Q ─▶ DQ ─▶ Conv ─────────────────────▶ y

A Cast from or to anything else, such as integers, is left alone.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnx_graphsurgeon as gs

from deploy.graph.onnx_graph import become_output, replace_uses

HALF = {np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)}
HALF_CODES = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}


def widen(graph: gs.Graph) -> gs.Graph:
    """`graph` with all half-precision tensors in float32, its inputs and outputs too; `graph` itself when it has
    none."""
    if not any(_is_half(tensor) for tensor in graph.tensors().values()):
        return graph
    graph = gs.import_onnx(onnx.shape_inference.infer_shapes(gs.export_onnx(graph)))  # the types that Casts read
    for node in list(graph.nodes):
        if node.op == "Cast" and _code(node) in HALF_CODES | {onnx.TensorProto.FLOAT} and _from_float(node):
            _remove(graph, node)
        elif node.op == "Cast" and _code(node) in HALF_CODES:
            node.attrs["to"] = int(onnx.TensorProto.FLOAT)
    for tensor in graph.tensors().values():
        if isinstance(tensor, gs.Constant) and _is_half(tensor):
            tensor.values = tensor.values.astype(np.float32)
        elif _is_half(tensor):
            tensor.dtype = np.dtype(np.float32)
    return graph.cleanup()


def _is_half(tensor: gs.Tensor) -> bool:
    """Return True for FP16 and BF16; graphsurgeon gives types that NumPy lacks as ONNX type numbers."""
    dtype = tensor.dtype
    return dtype in HALF_CODES if isinstance(dtype, int) else dtype is not None and np.dtype(dtype) in HALF


def _code(node: gs.Node) -> int:
    """The `to` of a Cast as an ONNX type number; graphsurgeon reads it as a NumPy type."""
    to = node.attrs["to"]
    return int(to) if isinstance(to, int) else int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(to)))


def _from_float(node: gs.Node) -> bool:
    source = node.inputs[0]
    return _is_half(source) or source.dtype == np.float32


def _remove(graph: gs.Graph, node: gs.Node) -> None:
    source, result = node.inputs[0], node.outputs[0]
    position = next((index for index, tensor in enumerate(graph.outputs) if tensor is result), None)
    replace_uses(graph, result, source)
    node.outputs.clear()
    node.inputs.clear()
    if position is not None:
        become_output(graph, position, result)
