"""Fold a BatchNorm into the convolution before it, scales included.

    before   x ─▶ Conv(w, b) ─▶ BatchNorm ─▶ y
    after    x ─▶ Conv(w · f, (b - mean) · f + beta) ─▶ y          f = gamma / √(var + epsilon), per output channel

The weight's integers stay what they were: the result is that of the unfolded graph, whose toolkit chose the integers
before folding.

Look-alikes left alone: a BatchNorm whose convolution somebody else reads too, a weight that two convolutions share, and
a channel with f = 0, whose weight would have no scale.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_graphsurgeon as gs

from deploy.apply.insert import Scale
from deploy.apply.rewrites.affine import affine, is_affine, scalable_conv, scale_channels


def fold_bn(graph: gs.Graph, scales: Mapping[str, Scale]) -> dict[str, Scale]:
    """Fold every BatchNorm that can be, in place, and return the scales that belong to the folded weights."""
    folded = dict(scales)
    for norm in [node for node in graph.nodes if is_affine(node)]:
        conv = scalable_conv(graph, norm.inputs[0])
        if conv is not None:
            scale_channels(conv, *affine(norm), folded)
            conv.outputs = [norm.outputs[0]]
            norm.outputs.clear()
    graph.cleanup()
    return folded
