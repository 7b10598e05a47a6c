"""Write a BatchNorm that cannot be folded as a depthwise 1×1 convolution, which has an INT8 kernel.

    before   x ─▶ BatchNorm ─▶ Relu ─▶ Conv
    after    x ─▶ Conv(groups = channels, 1×1, w = f, b = shift) ─▶ Relu ─▶ Conv

Each output channel has one weight and one scale, |f| / 127: the weight is exactly ±127 steps, so only the input is
rounded, which the rule `pre-activation-bn` quantizes anyway.

Look-alikes left alone: a BatchNorm of anything but N×C×H×W maps, and one with a factor of zero.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from deploy.graph.onnx_graph import sort_nodes
from deploy.plan.plan import QuantizationPlan
from deploy.plan.scale import QMAX, Scale
from deploy.rewrites.affine import affine, is_affine

MAP_RANK = 4


def bn_as_conv(graph: gs.Graph, plan: QuantizationPlan) -> tuple[gs.Graph, QuantizationPlan]:
    """Rewrite every BatchNorm left in `graph`, in place; the scales of the new weights join the plan."""
    extended = plan.scales()
    for norm in [node for node in graph.nodes if is_affine(node)]:
        source, result = norm.inputs[0], norm.outputs[0]
        if source.shape is None or len(source.shape) != MAP_RANK:
            continue
        factor, shift = affine(norm)
        weight = gs.Constant(f"{norm.name}_weight", factor.astype(np.float32).reshape(-1, 1, 1, 1))
        bias = gs.Constant(f"{norm.name}_bias", shift.astype(np.float32))
        extended[weight.name] = Scale((np.abs(weight.values) / np.float32(QMAX)).reshape(-1), axis=0)
        norm.inputs.clear()
        norm.outputs.clear()
        attrs = {"group": len(factor), "kernel_shape": [1, 1]}
        graph.nodes.append(gs.Node("Conv", norm.name, attrs, [source, weight, bias], [result]))
    sort_nodes(graph.cleanup())
    return graph, plan.with_scales(extended)
