"""All inputs of a Concat and its output share one scale: then joining them in INT8 is a copy.

    before   x ───────────▶ Concat ─▶ Q(s) ─▶ DQ ─▶ Conv
             y ───────────▶

    after    x ─▶ Q(s) ─▶ DQ ─▶ Concat ─▶ Q(s) ─▶ DQ ─▶ Conv
             y ─▶ Q(s) ─▶ DQ ─▶

The second pair changes nothing that the first has rounded to the same steps, and TensorRT cancels it. The shared
scale is the largest of the group, so no value is clipped.

Look-alike left alone: a Concat that only float ops read.
"""

from __future__ import annotations

from deploy.graph.opgraph import Node, OpGraph
from deploy.placement.rules.base import Match, Rule, Skip, Verdict, input_edge


def _match(graph: OpGraph, node: Node) -> Verdict:
    if node.kind != "Concat":
        return None
    if any(graph.is_constant(tensor) for tensor in node.inputs):
        return Skip("one input is constant")
    output = node.outputs[0]
    edges = tuple(input_edge(node, index) for index in range(len(node.inputs)))
    return Match(edges=edges, ties=((*node.inputs, output),), when=output)


RULE = Rule(
    name="concat",
    reason="inputs with scales of their own each cost a requantizing copy; with one scale Concat is free",
    source="NVIDIA TensorRT Developer Guide, Explicit Quantization: Q/DQ Propagation (layers that commute)",
    match=_match,
)
