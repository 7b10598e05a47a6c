"""Gates stay float: Mul, Sigmoid and similar operators are fused into one pointwise kernel.

    before   Conv ─▶ Q ─▶ DQ ─▶ Sigmoid ─▶ Q ─▶ DQ ─▶ Mul
    after    Conv ─────────────▶ Sigmoid ─────────────▶ Mul

The convolutions around a gate (PIDNet's PagFM and Bag, squeeze-and-excitation) are quantized by their own rule.

Look-alike left alone: the Add of a residual connection, which is fused into a convolution (see `residual_add`).
"""

from __future__ import annotations

from deploy.graph.opgraph import Node, OpGraph
from deploy.placement.rules.base import Keep, Rule, Verdict, input_edge

GATES = frozenset({"Mul", "Div", "Sub", "Sigmoid", "HardSigmoid", "Tanh", "Softmax", "ReduceSum"})


def _match(graph: OpGraph, node: Node) -> Verdict:
    if node.kind not in GATES:
        return None
    edges = tuple(input_edge(node, i) for i, tensor in enumerate(node.inputs) if not graph.is_constant(tensor))
    return Keep("pointwise ops of a gate stay float", edges)


RULE = Rule(
    name="gates",
    reason="Q/DQ inside a chain of pointwise ops splits the one float kernel that TensorRT makes of it",
    source="NVIDIA TensorRT Developer Guide, Q/DQ Layer-Placement Recommendations: do not quantize what gains nothing",
    match=_match,
)
