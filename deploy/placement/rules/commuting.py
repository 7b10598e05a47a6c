"""MaxPool and copies have no Q/DQ of their own: a pair that is wanted after them moves before them.

    before   x ─────────────▶ MaxPool ─▶ Q ─▶ DQ ─▶ Conv

    after    x ─▶ Q ─▶ DQ ─▶ MaxPool ─────────────▶ Conv

Quantizing keeps the order of values, so both compute the same; in front, the op before it writes INT8 and the pool
or copy moves a quarter of the bytes.

Look-alikes left alone: an op whose result has a float reader, and a bilinear Resize or AveragePool, which
computes new values.
"""

from __future__ import annotations

from deploy.graph.opgraph import Node, OpGraph, commutes
from deploy.placement.rules.base import Move, Rule, Skip, Verdict, input_edge


def _match(graph: OpGraph, node: Node) -> Verdict:
    if node.kind == "Pad" or not commutes(node):
        return None
    if graph.is_constant(node.inputs[0]):
        return Skip("the input is constant; the op folds away")
    return Move(input_edge(node, 0), node.outputs[0])


RULE = Rule(
    name="commuting-ops",
    reason="MaxPool, Reshape, Transpose and other copies commute with Q/DQ and run in INT8 between them",
    source="NVIDIA TensorRT Developer Guide, Explicit Quantization: Q/DQ Propagation (layers that commute)",
    match=_match,
)
