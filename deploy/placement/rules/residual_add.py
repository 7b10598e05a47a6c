"""A residual Add is fused into one of the convolutions that feed it; this requires its other input in INT8.

    before   x ─▶ Conv ─▶ Conv ──▶ Add ─▶ Relu
             └────────────────────▶

    after    x ─▶ Q ─▶ DQ ─▶ Conv ─▶ Q ─▶ DQ ─▶ Conv ──▶ Add ─▶ Relu
                      └──────────────────────────────────▶

With two convolution branches the one farther from their common ancestor stays bare (it finishes last, so the Add
is fused into it) and the shorter one, the shortcut, is quantized.

Look-alikes left alone: an Add without a convolution branch (a gate's weighted sum, a sum of resized maps) has no
kernel to fuse into, and an Add of a constant has no second activation.
"""

from __future__ import annotations

from deploy.graph.opgraph import Node, OpGraph, conv_branch
from deploy.placement.rules.base import Match, Rule, Skip, Verdict, input_edge


def _match(graph: OpGraph, node: Node) -> Verdict:
    if node.kind != "Add":
        return None
    if any(graph.is_constant(tensor) for tensor in node.inputs):
        return Skip("one input is constant")
    branches = [index for index, tensor in enumerate(node.inputs) if conv_branch(graph, tensor)]
    if not branches:
        return Skip("no convolution branch to fuse into: pointwise stays float")
    bare = max(branches, key=lambda index: _distance_from_other(graph, node, index))
    return Match(edges=tuple(input_edge(node, index) for index in range(len(node.inputs)) if index != bare))


def _distance_from_other(graph: OpGraph, node: Node, index: int) -> int:
    """Ops between input `index` and the nearest tensor that also leads to another input of `node`."""
    others: set[str] = set()
    for other, tensor in enumerate(node.inputs):
        if other != index:
            others |= _ancestors(graph, tensor).keys()
    return min(
        (depth for tensor, depth in _ancestors(graph, node.inputs[index]).items() if tensor in others), default=0
    )


def _ancestors(graph: OpGraph, tensor: str) -> dict[str, int]:
    """Every activation that `tensor` is computed from, with the least number of ops between them."""
    depths = {tensor: 0}
    frontier = [tensor]
    while frontier:
        reached = []
        for name in frontier:
            producer = graph.producer(name)
            for source in producer.inputs if producer else ():
                if source and source not in depths and not graph.is_constant(source):
                    depths[source] = depths[name] + 1
                    reached.append(source)
        frontier = reached
    return depths


RULE = Rule(
    name="residual-add",
    reason="the fused Conv+Add kernel computes in the precision of its residual input",
    source="NVIDIA TensorRT Developer Guide, Q/DQ Layer-Placement Recommendations: residual connections",
    match=_match,
)
