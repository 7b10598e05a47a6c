"""Folds a BatchNorm after an Add into both convolutions that the Add sums.

    before   x ─▶ Conv(w, b) ──▶ Add ─▶ BatchNorm ─▶ Relu
             z ─▶ Conv(v, c) ──▶

    after    x ─▶ Conv(w · f, b · f + shift) ──▶ Add ─▶ Relu          f, shift per channel
             z ─▶ Conv(v · f, c · f) ──────────▶

Equal because (p + q) · f + shift = (p · f + shift) + q · f. PIDNet's head begins so: the BatchNorm reads the sum of
Bag's two 1×1 convolutions.

The convolutions' outputs change, so they get new names, and their old scales are dropped.

Look-alikes left alone: an Add with an input that is not a convolution, or whose inputs or sum have other readers.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from deploy.graph.onnx_graph import replace_uses
from deploy.plan.plan import QuantizationPlan
from deploy.rewrites.affine import affine, is_affine, scalable_conv, scale_channels

FOLDED = "_folded"  # new names, so that checks do not compare these tensors with the old ones


def fold_bn_through_add(graph: gs.Graph, plan: QuantizationPlan) -> tuple[gs.Graph, QuantizationPlan]:
    """Fold every possible BatchNorm, in place; scales that no longer hold leave the plan."""
    kept = plan.scales()
    for norm in [node for node in graph.nodes if is_affine(node)]:
        convs = _summed_convs(graph, norm.inputs[0])
        if not convs:
            continue
        factor, shift = affine(norm)
        for conv, part in zip(convs, (shift, np.zeros_like(shift)), strict=True):
            scale_channels(conv, factor, part, kept)
            made = conv.outputs[0]
            kept.pop(made.name, None)
            made.name += FOLDED
        kept.pop(norm.inputs[0].name, None)
        replace_uses(graph, norm.outputs[0], norm.inputs[0])
        norm.outputs.clear()
    graph.cleanup()
    return graph, plan.with_scales(kept)


def _summed_convs(graph: gs.Graph, tensor: gs.Tensor) -> list[gs.Node]:
    """The two convolutions whose sum is `tensor`; empty unless both and the sum may change."""
    add = tensor.inputs[0] if tensor.inputs else None
    if add is None or add.op != "Add" or len(tensor.outputs) != 1 or tensor in graph.outputs:
        return []
    if add.inputs[0] is add.inputs[1]:
        return []
    convs = [conv for operand in add.inputs if (conv := scalable_conv(graph, operand)) is not None]
    return convs if len(convs) == len(add.inputs) else []
