"""A BatchNorm's factor and shift per channel, and their transfer into a convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from deploy.graph.onnx_graph import op_node
from deploy.graph.opgraph import weight_axis
from deploy.plan.scale import Scale, broadcast

DEFAULT_EPSILON = 1e-5
FloatArray = NDArray[np.float64]


def affine(norm: gs.Node) -> tuple[FloatArray, FloatArray]:
    """(factor, shift) of an inference BatchNormalization with constant parameters: y = x · factor + shift."""
    gamma, beta, mean, variance = (tensor.values.astype(np.float64) for tensor in norm.inputs[1:5])
    factor: FloatArray = gamma / np.sqrt(variance + norm.attrs.get("epsilon", DEFAULT_EPSILON))
    return factor, beta - mean * factor


def is_affine(norm: gs.Node) -> bool:
    """Return True if `norm` is an inference BatchNormalization with known, finite, nonzero factors."""
    if norm.op != "BatchNormalization" or norm.attrs.get("training_mode", 0):
        return False
    if not all(isinstance(tensor, gs.Constant) for tensor in norm.inputs[1:5]):
        return False
    factor, _ = affine(norm)
    return bool((factor != 0).all() and np.isfinite(factor).all())


def scalable_conv(graph: gs.Graph, tensor: gs.Tensor) -> gs.Node | None:
    """The convolution that makes `tensor`, if its weight is its own and only one node reads its result."""
    conv = tensor.inputs[0] if tensor.inputs else None
    if conv is None or conv.op not in ("Conv", "ConvTranspose") or len(tensor.outputs) != 1:
        return None
    if any(tensor is output for output in graph.outputs):
        return None
    if not all(isinstance(operand, gs.Constant) for operand in conv.inputs[1:]) or len(conv.inputs[1].outputs) != 1:
        return None
    return None if conv.op == "ConvTranspose" and conv.attrs.get("group", 1) > 1 else conv


def scale_channels(conv: gs.Node, factor: FloatArray, shift: FloatArray, scales: dict[str, Scale]) -> None:
    """Let `conv` compute (its result) · factor + shift per output channel, and its weight's scale follow.

    The scale is multiplied by |factor|, so that the weight's integers do not change, except for their sign where the
    factor is negative. A per-tensor scale is dropped, since channels now differ.
    """
    weight = conv.inputs[1]
    axis = weight_axis(op_node(conv))
    bias = conv.inputs[2].values.astype(np.float64) if len(conv.inputs) > 2 else np.zeros_like(shift)
    narrow = factor.astype(np.float32)
    weight.values = (weight.values * broadcast(narrow, axis, weight.values.ndim)).astype(np.float32)
    folded: Any = (bias * factor + shift).astype(np.float32)
    conv.inputs = [conv.inputs[0], weight, gs.Constant(f"{weight.name}_folded_bias", folded)]
    scale = scales.get(weight.name)
    if scale is not None and scale.axis in (None, axis):
        scales[weight.name] = Scale((scale.values * np.abs(factor)).astype(np.float32), axis)
    elif scale is not None:
        del scales[weight.name]
