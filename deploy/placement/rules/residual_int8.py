"""As `residual-add`, but a shortcut that ends in a convolution stays float where the sum is read in float.

    left alone   x ─▶ Conv ──▶ Add ─▶ Sigmoid
                 └─▶ Conv ──▶

    quantized    x ─▶ Conv ──────────▶ Add ─▶ Relu ─▶ Q ─▶ DQ ─▶ Conv
                 └─▶ Conv ─▶ Q ─▶ DQ ─▶

OpenVINO's fused kernel adds in place: the sum takes the memory of the shortcut. Where the sum is float, a copy widens
an INT8 shortcut to FP32 first. Where float is BF16, a second copy narrows the sum again.

Look-alike left to `residual-add`: an identity shortcut, which is INT8 for its other readers anyway.
"""

from __future__ import annotations

from dataclasses import replace

from deploy.graph.opgraph import ACTIVATIONS, Node, OpGraph, conv_branch
from deploy.placement.rules import residual_add
from deploy.placement.rules.base import Match, Rule, Verdict


def _match(graph: OpGraph, node: Node) -> Verdict:
    verdict = residual_add.RULE.match(graph, node)
    if isinstance(verdict, Match) and all(conv_branch(graph, tensor) for tensor in node.inputs):
        return replace(verdict, when=_fused_result(graph, node.outputs[0]))
    return verdict


def _fused_result(graph: OpGraph, tensor: str) -> str:
    """The tensor that others read of a sum: behind its BatchNorm and activation."""
    for kinds in ({"BatchNormalization"}, ACTIVATIONS):
        reader = graph.only_reader(tensor)
        tensor = reader.outputs[0] if reader is not None and reader.kind in kinds else tensor
    return tensor


RULE = Rule(
    name="residual-int8",
    reason="the sum is written over the shortcut, so both are INT8 or both are float",
    source="OpenVINO CPU plugin, Convolution with a fused sum: equal sizes of both, else FP32",
    match=_match,
)
