"""Element types of quantized activations: the same real values in the integers that an engine has kernels for.

`deploy.apply.insert` writes int8 with zero-point 0, which every engine reads. x86 kernels multiply uint8 by int8:

    signed tensor        int8,  zero-point 0, scale s    ─▶  uint8, zero-point 128, scale s
    non-negative tensor  int8,  zero-point 0, scale s    ─▶  uint8, zero-point 0,   scale s · 127 / 255
    with a known floor   int8,  zero-point 0, scale s    ─▶  uint8, zero-point z,   scale s · 127 / (255 - z)

The first is the same function. The second has the same largest value, 127 · s, and steps half as wide, so it is never
farther than one trained step from what was trained. A signed Concat has the first form where others have int8: OpenVINO
2026.4 computes nonsense behind a signed int8 one. The third keeps within a step, too: HardSwish has no value below
-0.375, so z is just large enough for that (see `deploy.graph.value_range`).
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import onnx_graphsurgeon as gs

from deploy.apply.passes import IS_INSERTED, Pass
from deploy.graph.opgraph import COPIES, QUANTIZE
from deploy.graph.value_range import floor
from deploy.plan.plan import QuantizationPlan
from deploy.plan.scale import QMAX, UINT8_MIDDLE

Unsigned = Literal["never", "non-negative", "always"]  # which activations become uint8
UINT8_MAX = 255


def number_formats(unsigned: Unsigned, floors: bool = False) -> Pass:
    """The pass that gives the activations of a Q/DQ graph the element types that a target has kernels for."""

    def run(graph: gs.Graph, plan: QuantizationPlan) -> tuple[gs.Graph, QuantizationPlan]:
        as_unsigned(graph, unsigned, floors)
        return graph, plan

    return Pass("number formats", run, requires=(IS_INSERTED,), ensures=(IS_INSERTED,))


def as_unsigned(graph: gs.Graph, unsigned: Unsigned, floors: bool = False) -> None:
    """Give the activations of a placed graph the types that `unsigned` names, in place; weights stay int8.

    With `floors`, a tensor that is known not to fall below a value has no integers for smaller values.
    """
    if unsigned == "never":
        return
    for node in [node for node in graph.nodes if node.op == QUANTIZE]:
        source, scale, zero_point = node.inputs
        if isinstance(source, gs.Constant):
            continue
        low = floor(source)
        zero = 0 if low >= 0 else _zero_for(low, float(scale.values.max())) if floors else UINT8_MIDDLE
        if zero < UINT8_MIDDLE:
            scale.values = (scale.values * np.float32(QMAX / (UINT8_MAX - zero))).astype(np.float32)
        if zero < UINT8_MIDDLE or unsigned == "always" or joined(source):
            zero_point.values = np.full(scale.values.shape, zero, dtype=np.uint8)
            node.outputs[0].dtype = np.dtype(np.uint8)


def joined(tensor: gs.Tensor) -> bool:
    """Return True if a Concat makes the tensor. OpenVINO 2026.4 computes zeros behind one that is signed int8."""
    while tensor.inputs and tensor.inputs[0].op in COPIES | {"MaxPool"}:
        tensor = tensor.inputs[0].inputs[0]
    return bool(tensor.inputs) and tensor.inputs[0].op == "Concat"


def _zero_for(low: float, scale: float) -> int:
    """The least zero-point whose range reaches from `low` to 127 · `scale`; that of a signed tensor if none is less."""
    reach = -low / (QMAX * scale)
    return UINT8_MIDDLE if reach >= 1 else min(math.ceil(UINT8_MAX * reach / (1 + reach)), UINT8_MIDDLE)
