"""No Q/DQ between a Pad and the convolution it belongs to: TensorRT makes the two one kernel.

    broken   x ─────────────▶ Pad ─▶ Q ─▶ DQ ─▶ Conv

    fused    x ─▶ Q ─▶ DQ ─▶ Pad ─────────────▶ Conv

Look-alike left alone: padding with a value other than zero. Zero is a quantization step of every symmetric scale. Other
values need not be, so quantizing before and after such a Pad differ.
"""

from __future__ import annotations

from deploy.graph.opgraph import Node, OpGraph, commutes
from deploy.placement.rules.base import Move, Rule, Skip, Verdict, input_edge


def _match(graph: OpGraph, node: Node) -> Verdict:
    if node.kind != "Pad":
        return None
    if not commutes(node):
        return Skip("pads with a value that may not be a quantization step")
    return Move(input_edge(node, 0), node.outputs[0])


RULE = Rule(
    name="pad-conv",
    reason="a zero Pad is folded into the convolution behind it when no Q/DQ stands between",
    source="NVIDIA TensorRT Developer Guide, Types of Fusions: Padding and Convolution/Deconvolution Fusion",
    match=_match,
)
