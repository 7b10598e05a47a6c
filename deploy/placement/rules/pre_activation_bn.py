"""A BatchNorm that no convolution feeds cannot be folded; Q/DQ before it lets it run inside the INT8 chain.

    before   Concat ─────────────▶ BatchNorm ─▶ Relu ─▶ Q ─▶ DQ ─▶ Conv

    after    Concat ─▶ Q ─▶ DQ ─▶ BatchNorm ─▶ Relu ─▶ Q ─▶ DQ ─▶ Conv

PIDNet's pyramid pooling and heads are built this way.

Look-alike left alone: the BatchNorm behind a convolution, which is folded into it (see `conv_bn_act`).
"""

from __future__ import annotations

from deploy.graph.opgraph import ACTIVATIONS, WEIGHTED, Node, OpGraph, fused_into
from deploy.placement.rules.base import Match, Rule, Skip, Verdict, input_edge


def _match(graph: OpGraph, node: Node) -> Verdict:
    if node.kind != "BatchNormalization":
        return None
    if fused_into(graph, node) is not None:
        return Skip("folded into the convolution before it")
    if not _feeds_weighted(graph, node.outputs[0]):
        return Skip("no INT8 layer reads its result")
    return Match(edges=(input_edge(node, 0),))


def _feeds_weighted(graph: OpGraph, tensor: str) -> bool:
    """Return True if a weighted op reads `tensor`, directly or through an activation."""
    readers = [graph.node(edge.node) for edge in graph.uses(tensor)]
    behind = [graph.node(edge.node) for r in readers if r.kind in ACTIVATIONS for edge in graph.uses(r.outputs[0])]
    return any(reader.kind in WEIGHTED for reader in readers + behind)


RULE = Rule(
    name="pre-activation-bn",
    reason="a BatchNorm without a convolution to fold into would run in float between INT8 layers",
    source="NVIDIA TensorRT Developer Guide, Explicit Quantization: Quantizable Layers",
    match=_match,
)
