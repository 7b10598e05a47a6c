"""Element types of quantized activations: the same real values in the integers that an engine has kernels for.

`deploy.apply.insert` writes int8 with zero-point 0, which every engine reads. x86 kernels multiply uint8 by int8:

    signed tensor        int8,  zero-point 0, scale s    ─▶  uint8, zero-point 128, scale s
    non-negative tensor  int8,  zero-point 0, scale s    ─▶  uint8, zero-point 0,   scale s · 127 / 255

The first is the same function. The second has the same largest value, 127 · s, and steps half as wide, so it is never
farther than one trained step from what was trained.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx_graphsurgeon as gs

from deploy.apply.passes import IS_INSERTED, Pass
from deploy.graph.opgraph import QUANTIZE
from deploy.graph.value_range import non_negative
from deploy.plan.plan import QuantizationPlan
from deploy.plan.scale import QMAX, UINT8_MIDDLE

Unsigned = Literal["never", "non-negative", "always"]  # which activations become uint8
UINT8_MAX = 255


def number_formats(unsigned: Unsigned) -> Pass:
    """The pass that gives the activations of a Q/DQ graph the element types that a target has kernels for."""

    def run(graph: gs.Graph, plan: QuantizationPlan) -> tuple[gs.Graph, QuantizationPlan]:
        as_unsigned(graph, unsigned)
        return graph, plan

    return Pass("number formats", run, requires=(IS_INSERTED,), ensures=(IS_INSERTED,))


def as_unsigned(graph: gs.Graph, unsigned: Unsigned) -> None:
    """Give the activations of a placed graph the types that `unsigned` asks for, in place; weights stay int8."""
    if unsigned == "never":
        return
    for node in [node for node in graph.nodes if node.op == QUANTIZE]:
        source, scale, zero_point = node.inputs
        if isinstance(source, gs.Constant):
            continue
        positive = non_negative(source)
        if positive:
            scale.values = (scale.values * np.float32(QMAX / UINT8_MAX)).astype(np.float32)
        if positive or unsigned == "always":
            zero_point.values = np.full(scale.values.shape, 0 if positive else UINT8_MIDDLE, dtype=np.uint8)
            node.outputs[0].dtype = np.dtype(np.uint8)
