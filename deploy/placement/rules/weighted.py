"""Weighted ops compute in INT8 only when activation and weight both arrive through Q/DQ.

    before   x ───────────────▶ Conv ─▶ y
             w ───────────────▶

    after    x ─▶ Q ─▶ DQ ────▶ Conv ─▶ y
             w ─▶ Q ─▶ DQ ────▶

A MatMul with a constant matrix is a linear layer on more than two dimensions: the same.

Look-alike left alone: an operator whose second input is computed (attention-like products have no constant weight, so
there is no per-channel scale to store; see `products`).
"""

from __future__ import annotations

from deploy.graph.opgraph import WEIGHTED, Node, OpGraph, weight_axis
from deploy.placement.rules.base import Match, Rule, Skip, Verdict, WeightUse, input_edge


def _match(graph: OpGraph, node: Node) -> Verdict:
    if node.kind not in WEIGHTED:
        return None
    if not graph.is_constant(node.inputs[1]):
        return None if node.kind == "MatMul" else Skip("the weight is computed, not constant")
    if graph.is_constant(node.inputs[0]):
        return Skip("the input is constant; the whole op folds away")
    if node.kind == "MatMul" and len(graph.constants[node.inputs[1]]) != 2:
        return Skip("only a matrix has an output-channel axis that all products share")
    if node.kind == "ConvTranspose" and node.attrs.get("groups", 1) > 1:
        return Skip("a grouped ConvTranspose has no per-output-channel axis in ONNX layout")
    weight = WeightUse(node.inputs[1], node.name, 1, weight_axis(node))
    return Match(edges=(input_edge(node, 0),), weights=(weight,))


RULE = Rule(
    name="weighted-ops",
    reason="an INT8 kernel needs both operands quantized: weights per output channel, activations per tensor",
    source="NVIDIA TensorRT Developer Guide, Working with Quantized Types: Explicit Quantization",
    match=_match,
)
