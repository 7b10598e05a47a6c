"""Put Q/DQ pairs into an ONNX graph where a placement says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from deploy.graph.onnx_graph import sort_nodes
from deploy.placement.decide import Placement

QMAX = 127
StoredAs = Literal["int8", "float"]
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True)
class Scale:
    """A symmetric int8 scale: a float32 scalar (`axis` None) or one value per slice along `axis`."""

    values: NDArray[np.float32]
    axis: int | None = None


def insert(graph: gs.Graph, where: Placement, scales: Mapping[str, Scale], weights: StoredAs = "int8") -> None:
    """Put one Q/DQ pair on every tensor that `where` quantizes and rewire the uses it names, in place.

    Activations become `x ─▶ Q ─▶ DQ`. Weights are stored as int8 constants behind a DQ, a quarter of the size; or, for
    engines that want to see the pair, as float constants before one.
    `scales` must hold every tensor of `where` (see `deploy.placement.decide.placement`).
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
            add = _add_weight if weights == "int8" else _add_pair
            stored[use.tensor] = add(graph, tensors[use.tensor], scales[use.tensor])
        nodes[use.node].inputs[use.index] = stored[use.tensor]
    sort_nodes(graph.cleanup())


def _add_pair(graph: gs.Graph, tensor: gs.Tensor, scale: Scale) -> gs.Variable:
    base = tensor.name
    parameters = _parameters(base, scale)
    attrs = {} if scale.axis is None else {"axis": scale.axis}
    integers = gs.Variable(f"{base}_quantized", dtype=np.int8, shape=tensor.shape)
    floats = gs.Variable(f"{base}_dequantized", dtype=np.float32, shape=tensor.shape)
    graph.nodes.append(gs.Node(QUANTIZE, f"{base}_{QUANTIZE}", dict(attrs), [tensor, *parameters], [integers]))
    graph.nodes.append(gs.Node(DEQUANTIZE, f"{base}_{DEQUANTIZE}", attrs, [integers, *parameters], [floats]))
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


def max_scale(values: NDArray[np.float32], axis: int) -> Scale:
    """The scale of a weight whose largest magnitude along each slice of `axis` becomes 127 steps."""
    largest = np.abs(values).max(axis=tuple(i for i in range(values.ndim) if i != axis))
    return Scale(np.maximum(largest / QMAX, np.finfo(np.float32).tiny).astype(np.float32), axis)


def quantize_array(values: NDArray[np.float32], scale: Scale) -> NDArray[np.int8]:
    """Round to the nearest even integer and clip to ±127, the narrow range that symmetric kernels assume."""
    steps = np.rint(values / broadcast(scale.values, scale.axis, values.ndim))
    integers: NDArray[np.int8] = np.clip(steps, -QMAX, QMAX).astype(np.int8)
    return integers


def _parameters(base: str, scale: Scale) -> list[gs.Constant]:
    values = scale.values.astype(np.float32)
    return [
        gs.Constant(f"{base}_scale", values),
        gs.Constant(f"{base}_zero_point", np.zeros(values.shape, dtype=np.int8)),
    ]


def broadcast(values: NDArray[np.float32], axis: int | None, rank: int) -> NDArray[np.float32]:
    """`values` along `axis` of an array of `rank` axes; a scalar when `axis` is None."""
    if axis is None:
        return values.reshape(())
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)
