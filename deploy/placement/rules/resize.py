"""A bilinear Resize reads float: Q/DQ belongs after it, where its reader takes INT8, never only before it.

    before   x ─▶ Q ─▶ DQ ─▶ Resize ─▶ Conv

    after    x ─────────────▶ Resize ─▶ Q ─▶ DQ ─▶ Conv

A pair in front would round twice on the way to the same reader, and no kernel fuses with it.

Look-alike left alone: a nearest Resize, which is a copy (see `commuting`).
"""

from __future__ import annotations

from deploy.graph.opgraph import Node, OpGraph, commutes
from deploy.placement.rules.base import Keep, Rule, Verdict, input_edge


def _match(graph: OpGraph, node: Node) -> Verdict:
    if node.kind != "Resize" or commutes(node):
        return None
    return Keep("an interpolating Resize is quantized behind it, where its reader wants INT8", (input_edge(node, 0),))


RULE = Rule(
    name="resize",
    reason="Q/DQ before an interpolation rounds once more and fuses with nothing",
    source="NVIDIA TensorRT Developer Guide, Explicit Quantization: Q/DQ Propagation (only commuting layers)",
    match=_match,
)
