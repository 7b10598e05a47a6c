"""Nothing stands between a convolution, its BatchNorm and its activation: TensorRT fuses the three.

    fused    Conv ─▶ BatchNorm ─▶ Relu ─▶ Q ─▶ DQ ─▶ ...
    broken   Conv ─▶ Q ─▶ DQ ─▶ BatchNorm ─▶ Relu

Look-alike left alone: a BatchNorm or Relu whose input has other readers. The convolution's bare output
must then exist in memory, so a Q/DQ on it breaks no fusion. A BatchNorm after the activation is not part of the fusion
either.
"""

from __future__ import annotations

from deploy.graph.opgraph import ACTIVATIONS, Node, OpGraph, fused_into
from deploy.placement.rules.base import Keep, Rule, Verdict, input_edge


def _match(graph: OpGraph, node: Node) -> Verdict:
    if node.kind != "BatchNormalization" and node.kind not in ACTIVATIONS:
        return None
    if fused_into(graph, node) is None:
        return None
    return Keep("fused into the convolution before it", (input_edge(node, 0),))


RULE = Rule(
    name="conv-bn-act",
    reason="TensorRT fuses Conv, BatchNorm and ReLU into one kernel; a Q/DQ between them prevents it",
    source="NVIDIA TensorRT Developer Guide, Q/DQ Layer-Placement Recommendations",
    match=_match,
)
