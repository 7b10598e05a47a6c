"""Findings about single Q and DQ nodes: types, zero-points, scales and quantized tensors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs

from deploy.apps.lint.finding import EXPLICIT, OPERATORS, Finding
from deploy.graph.onnx_graph import op_node
from deploy.graph.opgraph import DEQUANTIZE, QUANTIZE, WEIGHTED, weight_axis
from deploy.importing.integer_ops import KNOWN

_PAIR = (QUANTIZE, DEQUANTIZE)


def parameter_findings(graph: gs.Graph) -> Iterator[Finding]:
    """Findings where TensorRT's parser refuses a node or reads it differently than the toolkit intended."""
    for node in graph.nodes:
        if node.op in KNOWN or node.op.startswith("QLinear"):
            why = f"{node.op} is an integer operator; TensorRT takes Q/DQ pairs around float operators"
            yield Finding("error", "integer-operator", node.name, why, OPERATORS)
        if node.op in _PAIR and all(isinstance(tensor, gs.Constant) for tensor in node.inputs[1:]):
            yield from _of_pair(graph, node)
        if node.op in WEIGHTED:
            yield from _of_operands(node)


def _of_pair(graph: gs.Graph, node: gs.Node) -> Iterator[Finding]:
    stored = node.inputs[0]
    zero = np.asarray(node.inputs[2].values) if len(node.inputs) > 2 else _default_zero(node)
    of_bias = isinstance(stored, gs.Constant) and stored.values.dtype == np.int32
    if zero.any():
        why = f"zero-point {int(zero.reshape(-1)[0])}: quantization is symmetric, other zero-points do not parse"
        yield Finding("error", "asymmetric", node.name, why, f"{EXPLICIT}: Quantization Scheme")
    elif zero.dtype == np.uint8:
        why = "uint8 is imported as int8, which clips the upper half of the range"
        yield Finding("error", "unsigned", node.name, why, f"{EXPLICIT}: Quantization Scheme")
    if of_bias or (node.op == DEQUANTIZE and any(_is_bias(reader, node) for reader in node.outputs[0].outputs)):
        why = "a bias is added in the accumulator's precision; a pair on it does not parse"
        yield Finding("error", "never-bias", node.name, why, f"{EXPLICIT}: bias is not quantized")
    several = np.asarray(node.inputs[1].values).size > 1
    if node.op == QUANTIZE and several and not isinstance(stored, gs.Constant):
        why = "one scale a channel on an activation: only weights may have several"
        yield Finding("error", "channelwise-activation", node.name, why, f"{EXPLICIT}: Quantization Granularity")
    if node.op == DEQUANTIZE and any(node.outputs[0] is output for output in graph.outputs):
        why = "a pair on a graph output rounds the result and fuses with nothing"
        yield Finding("warning", "output", node.name, why, f"{EXPLICIT}: Q/DQ Layer-Placement Recommendations")


def _of_operands(node: gs.Node) -> Iterator[Finding]:
    pair = node.inputs[1].inputs[0] if len(node.inputs) > 1 and node.inputs[1].inputs else None
    if pair is None or pair.op != DEQUANTIZE or np.asarray(getattr(pair.inputs[1], "values", 0)).size < 2:
        return
    rank = len(pair.inputs[0].shape or ())
    axis, wanted = int(pair.attrs.get("axis", 1)), weight_axis(op_node(node))
    if (axis + rank if axis < 0 else axis) != wanted:
        why = f"weight scales along axis {axis}; a kernel has one for each output channel, axis {wanted}"
        yield Finding("error", "weight-axis", node.name, why, f"{EXPLICIT}: Quantization Granularity")


def _default_zero(node: gs.Node) -> np.ndarray:
    """Without a zero-point a Q makes uint8, and a DQ takes the type that it reads (ONNX)."""
    stored = node.inputs[0]
    dtype = np.uint8 if node.op == QUANTIZE else getattr(stored, "dtype", None) or np.uint8
    return np.zeros(1, dtype if isinstance(dtype, np.dtype | type) else np.uint8)


def _is_bias(reader: gs.Node, node: gs.Node) -> bool:
    return reader.op in WEIGHTED and len(reader.inputs) > 2 and reader.inputs[2] is node.outputs[0]
