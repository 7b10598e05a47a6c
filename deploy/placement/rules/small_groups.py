"""Grouped convolutions have an INT8 kernel only if every group has a multiple of four channels, in and out.

    before   x ─▶ Q ─▶ DQ ─▶ Conv(groups=C, depthwise) ◀─ DQ ◀─ Q ◀─ w
    after    x ─────────────▶ Conv(groups=C, depthwise) ◀───────────── w

Look-alikes left alone: an ungrouped convolution with few channels (a network's first, 3 channels in; TensorRT pads
those), and groups that are wide enough (PIDNet's `spp.scale_process`: 96 channels in each).
"""

from __future__ import annotations

from deploy.graph.opgraph import Node, OpGraph
from deploy.placement.rules.base import Keep, Rule, Verdict, input_edge

CHANNELS = 4  # the vector width of INT8 dot products


def _match(graph: OpGraph, node: Node) -> Verdict:
    groups = int(node.attrs.get("groups", 1))
    if node.kind != "Conv" or groups == 1 or not graph.is_constant(node.inputs[1]):
        return None
    outputs, inputs_per_group = graph.constants[node.inputs[1]][:2]
    if inputs_per_group % CHANNELS == 0 and outputs // groups % CHANNELS == 0:
        return None
    why = f"{inputs_per_group} channels in and {outputs // groups} out per group: no multiple of {CHANNELS}"
    return Keep(why, (input_edge(node, 0),))


RULE = Rule(
    name="small-groups",
    reason="TensorRT has no INT8 kernel for groups whose channels are no multiple of 4",
    source="NVIDIA TensorRT API, NvInfer.h: IConvolutionLayer::setNbGroups",
    match=_match,
)
