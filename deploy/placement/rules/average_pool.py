"""Average pools run in INT8 only between a DQ and a Q: they compute new values, so Q/DQ does not pass through them.

    before   x ─────────────▶ AveragePool ─────────────▶ y

    after    x ─▶ Q ─▶ DQ ─▶ AveragePool ─▶ Q ─▶ DQ ─▶ y

Look-alikes left alone: MaxPool, which commutes (see `commuting`), and a pool that ends in a graph output or a float
reader, where no Q follows it.
"""

from __future__ import annotations

from deploy.graph.opgraph import Node, OpGraph
from deploy.placement.rules.base import Match, Rule, Skip, Verdict, input_edge


def _match(graph: OpGraph, node: Node) -> Verdict:
    if node.kind not in ("AveragePool", "GlobalAveragePool"):
        return None
    if node.outputs[0] in graph.outputs:
        return Skip("its result is a graph output and stays float")
    return Match(edges=(input_edge(node, 0), *graph.uses(node.outputs[0])))


RULE = Rule(
    name="average-pool",
    reason="a quantizable layer: TensorRT fuses it with the DQ before and the Q behind it, and needs both",
    source="NVIDIA TensorRT Developer Guide, Explicit Quantization: Quantizable Layers (average pooling)",
    match=_match,
)
