"""Fold a BatchNorm into the convolution before it, scales included.

    before   x ─▶ Conv(w, b) ─▶ BatchNorm ─▶ y
    after    x ─▶ Conv(w · f, (b - mean) · f + beta) ─▶ y          f = gamma / √(var + epsilon), per output channel

A weight's scale is multiplied by |f|, so its integers stay what they were (with the other sign where f < 0): the result
is that of the unfolded graph, whose toolkit chose the integers before folding.

Look-alikes left alone: a BatchNorm whose convolution somebody else reads too, a weight that two convolutions share, and
a channel with f = 0, whose weight would have no scale.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from deploy.onnx_graph import op_node
from deploy.qdq import Scale, broadcast
from deploy.rules.weighted import weight_axis

DEFAULT_EPSILON = 1e-5


def fold_bn(graph: gs.Graph, scales: Mapping[str, Scale]) -> dict[str, Scale]:
    """Fold every BatchNorm that can be, in place, and return the scales that belong to the folded weights."""
    folded = dict(scales)
    for node in list(graph.nodes):
        if node.op == "BatchNormalization" and _foldable(graph, node):
            _fold(node, folded)
    graph.cleanup()
    return folded


def _foldable(graph: gs.Graph, norm: gs.Node) -> bool:
    source = norm.inputs[0]
    conv = source.inputs[0] if source.inputs else None
    if conv is None or conv.op not in ("Conv", "ConvTranspose") or len(source.outputs) != 1:
        return False
    if any(source is output for output in graph.outputs) or norm.attrs.get("training_mode", 0):
        return False
    constants = [*norm.inputs[1:5], *conv.inputs[1:]]
    if not all(isinstance(tensor, gs.Constant) for tensor in constants) or len(conv.inputs[1].outputs) != 1:
        return False
    if conv.op == "ConvTranspose" and conv.attrs.get("group", 1) > 1:
        return False
    factor = _factor(norm)
    return bool((factor != 0).all() and np.isfinite(factor).all())


def _fold(norm: gs.Node, scales: dict[str, Scale]) -> None:
    conv = norm.inputs[0].inputs[0]
    weight = conv.inputs[1]
    axis = weight_axis(op_node(conv))
    factor = _factor(norm)
    rank = weight.values.ndim
    beta, mean = (norm.inputs[index].values.astype(np.float64) for index in (2, 3))
    bias = conv.inputs[2].values.astype(np.float64) if len(conv.inputs) > 2 else np.zeros_like(mean)
    weight.values = (weight.values * broadcast(factor.astype(np.float32), axis, rank)).astype(np.float32)
    shifted = ((bias - mean) * factor + beta).astype(np.float32)
    conv.inputs = [conv.inputs[0], weight, gs.Constant(f"{weight.name}_folded_bias", shifted)]
    scale = scales.get(weight.name)
    if scale is not None and scale.axis in (None, axis):
        scales[weight.name] = Scale((scale.values * np.abs(factor)).astype(np.float32), axis)
    elif scale is not None:
        del scales[weight.name]  # one scale for several output channels, which now differ
    conv.outputs = [norm.outputs[0]]
    norm.outputs.clear()


def _factor(norm: gs.Node) -> NDArray[np.float64]:
    gamma, variance = (norm.inputs[index].values.astype(np.float64) for index in (1, 4))
    factor: NDArray[np.float64] = gamma / np.sqrt(variance + norm.attrs.get("epsilon", DEFAULT_EPSILON))
    return factor
