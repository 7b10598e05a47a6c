"""A product of two activations, as attention has, computes in INT8 when both arrive through Q/DQ.

    before   q ─────────────▶ MatMul ─▶ scores
             k ─────────────▶

    after    q ─▶ Q ─▶ DQ ──▶ MatMul ─▶ scores
             k ─▶ Q ─▶ DQ ──▶

Look-alike left alone: a MatMul with a constant operand, which is a linear layer and has scales per output channel
(`weighted-ops`). LayerNorm, Softmax and GELU around it have no INT8 kernel and stay float.
"""

from __future__ import annotations

from deploy.graph.opgraph import Node, OpGraph
from deploy.placement.rules.base import Match, Rule, Verdict, input_edge


def _match(graph: OpGraph, node: Node) -> Verdict:
    if node.kind != "MatMul" or any(graph.is_constant(tensor) for tensor in node.inputs):
        return None
    return Match(edges=(input_edge(node, 0), input_edge(node, 1)))


RULE = Rule(
    name="products",
    reason="a batched matrix product has an INT8 kernel, which needs both operands quantized per tensor",
    source="NVIDIA TensorRT Developer Guide, Explicit Quantization: MatrixMultiply; OpenVINO, Low Precision "
    "Transformations: MatMulTransformation",
    match=_match,
)
