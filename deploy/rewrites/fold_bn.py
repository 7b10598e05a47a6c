"""Fold a BatchNorm into the convolution before it, scales included.

    before   x ─▶ Conv(w, b) ─▶ BatchNorm ─▶ y
    after    x ─▶ Conv(w · f, (b - mean) · f + beta) ─▶ y          f = gamma / √(var + epsilon), per output channel

The weight's integers do not change, so the result equals that of the unfolded graph, for which the toolkit chose them.

Look-alikes left alone: a BatchNorm whose convolution has other readers, a weight that two convolutions share, and a
channel with f = 0, whose weight would have no scale.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs

from deploy.plan.plan import QuantizationPlan
from deploy.rewrites.affine import affine, is_affine, scalable_conv, scale_channels


def fold_bn(graph: gs.Graph, plan: QuantizationPlan) -> tuple[gs.Graph, QuantizationPlan]:
    """Fold every possible BatchNorm, in place; the scales of folded weights follow."""
    folded = plan.scales()
    for norm in [node for node in graph.nodes if is_affine(node)]:
        conv = scalable_conv(graph, norm.inputs[0])
        if conv is not None:
            scale_channels(conv, *affine(norm), folded)
            conv.outputs = [norm.outputs[0]]
            norm.outputs.clear()
    graph.cleanup()
    return graph, plan.with_scales(folded)
