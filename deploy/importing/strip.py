"""Removes the Q/DQ pairs from an ONNX graph and keeps their scales."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from core.errors import UserError
from deploy.graph.onnx_graph import become_output, replace_uses
from deploy.graph.opgraph import DEQUANTIZE, QUANTIZE, WEIGHTED
from deploy.graph.value_range import non_negative
from deploy.plan.scale import QMAX, UINT8_MIDDLE, Scale, broadcast

SUPPORTED_ZERO_POINTS = {np.dtype(np.int8), np.dtype(np.uint8)}
SAME = 0.01  # scales of one tensor this close are one scale, calibrated twice


@dataclass(frozen=True)
class _Found:
    """A scale, the DQ it came from, and whether that DQ feeds a weighted op."""

    scale: Scale
    node: str
    weighted: bool


def strip(graph: gs.Graph) -> dict[str, Scale]:
    """Remove every Q/DQ pair from `graph`, in place, and return the scale of each tensor that had one.

    Weights stored as integers behind a lone DQ become float constants again. Unsigned or asymmetric ranges become the
    symmetric int8 scale that covers them: a uint8 scale read as int8 would halve the range. The scales of an
    activation's channels become the largest of them. Of two scales on one tensor, the one that feeds a weighted op is
    kept: only that scale reached an INT8 kernel.

    Raises:
        UserError: a Q without DQ, an element type other than int8/uint8, or two different scales on one tensor
            that both feed weighted ops.
    """
    graph.toposort()
    found: dict[str, _Found] = {}
    constants: dict[tuple[str, bytes], gs.Constant] = {}
    outputs: list[tuple[int, gs.Variable]] = []
    for node in [node for node in graph.nodes if node.op == DEQUANTIZE]:
        quantized = node.inputs[0]
        if isinstance(quantized, gs.Constant):
            values = node.inputs[1].values
            source: gs.Tensor = constants.setdefault((quantized.name, values.tobytes()), _float_constant(node))
            if quantized.values.dtype == np.int32:  # a bias, which stays float
                _bypass(graph, node, source)
                continue
        elif len(quantized.inputs) == 1 and quantized.inputs[0].op == QUANTIZE:
            source = _without_negatives(graph, quantized.inputs[0])
        else:
            raise UserError(
                f"{node.name or node.outputs[0].name}: a DequantizeLinear that no QuantizeLinear feeds",
                why="integer operators between Q and DQ (QLinearConv style) cannot be re-placed",
                fix="export the model in Q/DQ format",
            )
        weighted = any(reader.op in WEIGHTED for reader in node.outputs[0].outputs)
        scale = _symmetric(node)
        if scale.axis is not None and not isinstance(source, gs.Constant):
            scale = Scale(scale.values.max().reshape(()))  # an activation has one scale in every INT8 kernel
        new = _Found(scale, node.name or node.outputs[0].name, weighted)
        found[source.name] = _chosen(source.name, found[source.name], new) if source.name in found else new
        outputs += [(index, tensor) for index, tensor in enumerate(graph.outputs) if tensor is node.outputs[0]]
        _bypass(graph, node, source)
    scales = {name: item.scale for name, item in found.items()}
    for position, output in outputs:
        old = graph.outputs[position].name
        if become_output(graph, position, output) and old in scales:
            scales[graph.outputs[position].name] = scales.pop(old)
    graph.cleanup().toposort()
    left = [node.name for node in graph.nodes if node.op in (QUANTIZE, DEQUANTIZE)]
    if left:
        raise UserError(f"{len(left)} Q/DQ nodes do not form pairs", why=", ".join(left[:5]))
    return scales


def _chosen(tensor: str, first: _Found, second: _Found) -> _Found:
    """The scale of two pairs that `tensor` keeps."""
    one, two = first.scale, second.scale
    if one.axis == two.axis and np.allclose(one.values, two.values, rtol=SAME, atol=0):
        return max(first, second, key=lambda item: float(item.scale.values.max()))
    if first.weighted == second.weighted:
        shown = ", ".join(f"{item.node}: {float(item.scale.values.max()):.6g}" for item in (first, second))
        raise UserError(
            f"tensor {tensor} is quantized with two different scales",
            why=shown,
            fix="calibrate the model with one quantizer for this tensor",
        )
    return first if first.weighted else second


def _without_negatives(graph: gs.Graph, node: gs.Node) -> gs.Tensor:
    """The tensor that `node` (a Q) quantizes, with a Relu added where the Q's range starts at zero and replaced a Relu.

    ONNX Runtime's quantizer drops a Relu that such a Q follows. Graph inputs and constants stay unchanged.
    """
    source = node.inputs[0]
    zero_points = node.inputs[2].values if len(node.inputs) > 2 else np.zeros(1, np.uint8)
    starts_at_zero = (zero_points == np.iinfo(zero_points.dtype).min).all()
    if not starts_at_zero or not source.inputs or non_negative(source):
        return source
    name = f"{source.name}_Relu"
    known = next((reader.outputs[0] for reader in source.outputs if reader.name == name), None)
    if known is not None:
        return known
    positive = gs.Variable(name, source.dtype, source.shape)
    graph.nodes.append(gs.Node("Relu", name, inputs=[source], outputs=[positive]))
    return positive


def _bypass(graph: gs.Graph, node: gs.Node, source: gs.Tensor) -> None:
    replace_uses(graph, node.outputs[0], source)
    node.outputs.clear()
    node.inputs.clear()


def _symmetric(node: gs.Node) -> Scale:
    """The symmetric int8 scale that covers the range of a DQ node's parameters."""
    values = np.asarray(node.inputs[1].values, dtype=np.float32)
    per_tensor = values.size == 1
    axis = None if per_tensor else _axis(node)
    zero_points = _zero_points(node)
    if zero_points.dtype not in SUPPORTED_ZERO_POINTS:
        raise UserError(f"{node.name}: element type {zero_points.dtype} is not supported", why="INT8 engines only")
    shifted_int8 = zero_points.dtype == np.uint8 and (zero_points == UINT8_MIDDLE).all()
    is_weight = isinstance(node.inputs[0], gs.Constant)  # in ±127, where uint8's lowest value has no place
    if (zero_points.dtype == np.int8 and not zero_points.any()) or (shifted_int8 and not is_weight):
        return Scale(values.reshape(()) if per_tensor else values, axis)
    limits = np.iinfo(zero_points.dtype)
    low = np.abs(limits.min - zero_points.astype(np.float64))
    high = np.abs(limits.max - zero_points.astype(np.float64))
    covered = np.asarray(values * np.maximum(low, high) / QMAX, dtype=np.float32)
    return Scale(covered.reshape(()) if per_tensor else covered, axis)


def _zero_points(node: gs.Node) -> gs.Constant:
    """A DQ's zero-points; without that input, zeros of the type it reads, or uint8 where that is unknown."""
    if len(node.inputs) > 2:
        return node.inputs[2].values
    quantized = node.inputs[0]
    if isinstance(quantized, gs.Constant):
        return np.zeros(node.inputs[1].values.shape, quantized.values.dtype)
    source = quantized.inputs[0]
    return source.inputs[2].values if len(source.inputs) > 2 else np.zeros(node.inputs[1].values.shape, np.uint8)


def _axis(node: gs.Node) -> int:
    axis = int(node.attrs.get("axis", 1))
    shape = node.inputs[0].shape
    return axis + len(shape) if axis < 0 and shape is not None else axis


def _float_constant(node: gs.Node) -> gs.Constant:
    """The float weight that a DQ on an integer constant represents."""
    integers = node.inputs[0]
    axis = None if node.inputs[1].values.size == 1 else _axis(node)
    values = integers.values.astype(np.float32)
    if len(node.inputs) > 2:
        values = values - broadcast(node.inputs[2].values.astype(np.float32), axis, values.ndim)
    scale = broadcast(np.asarray(node.inputs[1].values, dtype=np.float32), axis, values.ndim)
    name = integers.name.removesuffix("_quantized")
    return gs.Constant(name, np.asarray(values * scale, np.float32))
