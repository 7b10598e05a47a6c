"""A placement rule of your own: attention products get INT8 inputs.

    before   x ─────────────▶ MatMul ─▶ y
             z ─────────────▶

    after    x ─▶ Q ─▶ DQ ──▶ MatMul ─▶ y
             z ─▶ Q ─▶ DQ ──▶

Switch it on in the config with

    placement:
      custom: [examples/custom_rule.py]

Look-alike left alone: a MatMul with a constant weight, which wants one scale per output channel.
"""

from deploy.graph.opgraph import Node, OpGraph
from deploy.placement.rules.base import Match, Rule, Skip, Verdict, input_edge


def _match(graph: OpGraph, node: Node) -> Verdict:
    if node.kind != "MatMul":
        return None
    if any(graph.is_constant(tensor) for tensor in node.inputs):
        return Skip("one operand is a weight")
    return Match(edges=(input_edge(node, 0), input_edge(node, 1)))


RULES = (
    Rule(
        name="attention-products",
        reason="both operands of a batched MatMul must be INT8 for an INT8 kernel",
        source="NVIDIA TensorRT Developer Guide, Explicit Quantization: Quantizable Layers",
        match=_match,
    ),
)
