"""Scale weights so that no sum of two products overflows on x86 CPUs without VNNI.

    kernel   uint8 · int8 + uint8 · int8  ─▶  int16, saturated          (the instruction vpmaddubsw)
    worst    255 · 127 + 255 · 127 = 64770  >  32767

Both products have the sign of their weight, so only neighbours of one sign overflow: those whose sum exceeds 128. The
output channels that have such a pair get a scale that is larger by just what the worst pair needs. The known way, 7
bits for all weights, costs more: docs/guides/quantize.md has both.

Neighbours are input channels 2k and 2k + 1 at one place of the kernel, as oneDNN and MLAS lay weights out; with an odd
number of channels any two in the order (height, width, channel).

Look-alikes left alone: depthwise convolutions, where each sum has one product, and weights that stay in float.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from deploy.apply.passes import IS_DECIDED, IS_FLOAT, Pass
from deploy.plan.plan import QuantizationPlan
from deploy.plan.scale import QMAX, Scale, broadcast

MOST = 127  # of two neighbours: rounding may add half a step to each, and 255 · 128 still fits


def fitted(graph: gs.Graph, plan: QuantizationPlan) -> tuple[gs.Graph, QuantizationPlan]:
    """`plan` with larger weight scales where two neighbours could overflow; the graph stays as it is."""
    tensors, nodes, scales = graph.tensors(), {node.name: node for node in graph.nodes}, plan.scales()
    for name, entry in plan.weights.items():
        by_channel = [_by_channel(tensors[name].values, nodes[use.node], scales[name]) for use in entry.uses]
        factors = np.maximum.reduce([np.maximum(1.0, heaviest(steps) / MOST) for steps in by_channel])
        if scales[name].axis is None:
            factors = factors.max()
        scales[name] = Scale((scales[name].values * factors).astype(np.float32), scales[name].axis)
    return graph, plan.with_scales(scales)


INT16_SUMS = Pass("sums in 16 bits", fitted, requires=(IS_FLOAT, IS_DECIDED), ensures=(IS_FLOAT, IS_DECIDED))


def heaviest(steps: NDArray[Any]) -> NDArray[Any]:
    """The largest sum of two neighbours of one sign in each output channel, 0 where there are none.

    Args:
        steps: (output channels, kernel places, input channels of a group) in quantization steps.
    """
    if steps.shape[2] == 1:
        return np.zeros(len(steps))
    if steps.shape[2] % 2:
        flat = steps.reshape(len(steps), -1)
        first, second = flat[:, :-1], flat[:, 1:]
    else:
        first, second = steps[:, :, 0::2], steps[:, :, 1::2]
    sums = np.where(first * second > 0, np.abs(first + second), 0.0)
    return np.asarray(sums.reshape(len(steps), -1).max(axis=1))


def _by_channel(weight: NDArray[Any], node: gs.Node, scale: Scale) -> NDArray[Any]:
    """A weight in quantization steps, clipped, as `heaviest` takes it."""
    steps = np.clip(weight / broadcast(scale.values, scale.axis, weight.ndim), -QMAX, QMAX)
    if node.op == "ConvTranspose" or node.op == "MatMul" or (node.op == "Gemm" and not node.attrs.get("transB", 0)):
        steps = steps.swapaxes(0, 1)
    return steps.reshape(*steps.shape[:2], -1).transpose(0, 2, 1)
