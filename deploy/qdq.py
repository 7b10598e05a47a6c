"""Q/DQ pairs in an ONNX graph: take them out with their scales, put them in where a placement says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from core.errors import UserError
from deploy.onnx_graph import replace_uses, sort_nodes
from deploy.placement import Placement

QMAX = 127
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
NON_NEGATIVE = {"Relu", "Sigmoid"}
SUPPORTED_ZERO_POINTS = {np.dtype(np.int8), np.dtype(np.uint8)}


@dataclass(frozen=True)
class Scale:
    """A symmetric int8 scale: a float32 scalar (`axis` None) or one value per slice along `axis`."""

    values: NDArray[np.float32]
    axis: int | None = None


def strip(graph: gs.Graph) -> dict[str, Scale]:
    """Remove every Q/DQ pair from `graph`, in place, and return the scale of each tensor that had one.

    Weights stored as integers behind a lone DQ become float constants again. Unsigned or asymmetric ranges are
    converted to the symmetric int8 scale that covers them (a uint8 scale read as int8 would halve the range).

    Raises:
        UserError: a Q without DQ, an element type other than int8/uint8, or two different scales on one tensor.
    """
    scales: dict[str, Scale] = {}
    for node in list(graph.nodes):
        if node.op != DEQUANTIZE:
            continue
        quantized = node.inputs[0]
        if isinstance(quantized, gs.Constant):
            source: gs.Tensor = _float_constant(node)
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
        scale = _symmetric(node)
        if node.outputs[0] in graph.outputs:
            _become_output(source, node.outputs[0])
        known = scales.get(source.name)
        if known is not None and not np.array_equal(known.values, scale.values):
            raise UserError(f"tensor {source.name} is quantized with two different scales")
        scales[source.name] = scale
        _bypass(graph, node, source)
    graph.cleanup().toposort()
    left = [node.name for node in graph.nodes if node.op in (QUANTIZE, DEQUANTIZE)]
    if left:
        raise UserError(f"{len(left)} Q/DQ nodes do not form pairs", why=", ".join(left[:5]))
    return scales


def _without_negatives(graph: gs.Graph, node: gs.Node) -> gs.Tensor:
    """What `node` (a Q) quantizes; with a Relu after it where the Q's range starts at zero and does the Relu's work.

    ONNX Runtime's quantizer drops a Relu that such a Q follows. Graph inputs and constants are taken as they are.
    """
    source = node.inputs[0]
    zero_points = node.inputs[2].values if len(node.inputs) > 2 else np.zeros(1, np.uint8)
    starts_at_zero = (zero_points == np.iinfo(zero_points.dtype).min).all()
    if not starts_at_zero or not source.inputs or source.inputs[0].op in NON_NEGATIVE:
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


def _become_output(source: gs.Tensor, output: gs.Variable) -> None:
    """Give the tensor that replaces a graph output the output's name and type."""
    source.name, output.name = output.name, source.name
    source.dtype, source.shape = output.dtype, output.shape


def insert(graph: gs.Graph, where: Placement, scales: Mapping[str, Scale]) -> None:
    """Put one Q/DQ pair on every tensor that `where` quantizes and rewire the uses it names, in place.

    Activations become `x ─▶ Q ─▶ DQ`; weights are stored as int8 constants behind a DQ, a quarter of the size.
    `scales` must hold every tensor of `where` (see `deploy.placement.placement`).
    """
    tensors = graph.tensors()
    nodes = {node.name: node for node in graph.nodes}
    for name, edges in where.by_tensor.items():
        output = _add_pair(graph, tensors[name], scales[name])
        for edge in edges:
            nodes[edge.node].inputs[edge.index] = output
    stored: dict[str, gs.Variable] = {}
    for item in where.weights:
        use = item.use
        if use.tensor not in stored:
            stored[use.tensor] = _add_weight(graph, tensors[use.tensor], scales[use.tensor])
        nodes[use.node].inputs[use.index] = stored[use.tensor]
    sort_nodes(graph.cleanup())


def _add_pair(graph: gs.Graph, tensor: gs.Tensor, scale: Scale) -> gs.Variable:
    base = tensor.name
    parameters = _parameters(base, scale)
    integers = gs.Variable(f"{base}_quantized", dtype=np.int8, shape=tensor.shape)
    floats = gs.Variable(f"{base}_dequantized", dtype=np.float32, shape=tensor.shape)
    graph.nodes.append(gs.Node(QUANTIZE, f"{base}_{QUANTIZE}", inputs=[tensor, *parameters], outputs=[integers]))
    graph.nodes.append(gs.Node(DEQUANTIZE, f"{base}_{DEQUANTIZE}", inputs=[integers, *parameters], outputs=[floats]))
    return floats


def _add_weight(graph: gs.Graph, weight: gs.Constant, scale: Scale) -> gs.Variable:
    integers = gs.Constant(f"{weight.name}_quantized", quantize_array(weight.values, scale))
    floats = gs.Variable(f"{weight.name}_dequantized", dtype=np.float32, shape=weight.values.shape)
    graph.nodes.append(
        gs.Node(
            DEQUANTIZE,
            f"{weight.name}_{DEQUANTIZE}",
            attrs={} if scale.axis is None else {"axis": scale.axis},
            inputs=[integers, *_parameters(weight.name, scale)],
            outputs=[floats],
        )
    )
    return floats


def quantize_array(values: NDArray[np.float32], scale: Scale) -> NDArray[np.int8]:
    """Round to the nearest even integer and clip to ±127, the narrow range that symmetric kernels assume."""
    steps = np.rint(values / _broadcast(scale.values, scale.axis, values.ndim))
    integers: NDArray[np.int8] = np.clip(steps, -QMAX, QMAX).astype(np.int8)
    return integers


def _parameters(base: str, scale: Scale) -> list[gs.Constant]:
    values = scale.values.astype(np.float32)
    return [
        gs.Constant(f"{base}_scale", values),
        gs.Constant(f"{base}_zero_point", np.zeros(values.shape, dtype=np.int8)),
    ]


def _symmetric(node: gs.Node) -> Scale:
    """The symmetric int8 scale that covers the range of a Q or DQ node's parameters."""
    values = np.asarray(node.inputs[1].values, dtype=np.float32)
    per_tensor = values.size == 1
    axis = None if per_tensor else int(node.attrs.get("axis", 1))
    quantized = node.inputs[0]
    default = quantized.values.dtype if isinstance(quantized, gs.Constant) else np.uint8  # by the ONNX specification
    zero_points = node.inputs[2].values if len(node.inputs) > 2 else np.zeros(values.shape, default)
    if zero_points.dtype not in SUPPORTED_ZERO_POINTS:
        raise UserError(f"{node.name}: element type {zero_points.dtype} is not supported", why="INT8 engines only")
    if zero_points.dtype == np.int8 and not zero_points.any():
        return Scale(values.reshape(()) if per_tensor else values, axis)
    limits = np.iinfo(zero_points.dtype)
    low = np.abs(limits.min - zero_points.astype(np.float64))
    high = np.abs(limits.max - zero_points.astype(np.float64))
    covered = np.asarray(values * np.maximum(low, high) / QMAX, dtype=np.float32)
    return Scale(covered.reshape(()) if per_tensor else covered, axis)


def _float_constant(node: gs.Node) -> gs.Constant:
    """The float weight that a DQ on an integer constant stands for."""
    integers = node.inputs[0]
    axis = None if node.inputs[1].values.size == 1 else int(node.attrs.get("axis", 1))
    values = integers.values.astype(np.float32)
    if len(node.inputs) > 2:
        zero_points = _broadcast(node.inputs[2].values.astype(np.float32), axis, values.ndim)
        values = values - zero_points
    scale = _broadcast(np.asarray(node.inputs[1].values, dtype=np.float32), axis, values.ndim)
    name = integers.name.removesuffix("_quantized")
    return gs.Constant(name, (values * scale).astype(np.float32))


def _broadcast(values: NDArray[np.float32], axis: int | None, rank: int) -> NDArray[np.float32]:
    if axis is None:
        return values.reshape(())
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)
