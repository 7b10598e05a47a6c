"""A bias stays float: TensorRT adds it in higher precision, and an INT32 DQ in front of it does not parse.

    x ─▶ Q ─▶ DQ ─▶
    w ─▶ Q ─▶ DQ ─▶ Conv ─▶ y
    b ────────────▶

Look-alike left alone: an Add of a constant after the op is an ordinary pointwise op, not a bias input.
"""

from __future__ import annotations

from deploy.graph.opgraph import WEIGHTED, Node, OpGraph
from deploy.placement.rules.base import Keep, Rule, Verdict, input_edge


def _match(graph: OpGraph, node: Node) -> Verdict:
    if node.kind not in WEIGHTED or len(node.inputs) < 3 or not node.inputs[2]:
        return None
    return Keep("bias stays float", (input_edge(node, 2),))


RULE = Rule(
    name="never-bias",
    reason="TensorRT adds biases in float; quantized biases do not parse",
    source="NVIDIA TensorRT Developer Guide, Explicit Quantization: bias is not quantized",
    match=_match,
)
