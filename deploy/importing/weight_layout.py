"""Weights that reach their operator through copies: moves the scale and its axis along.

    before   w (H, W, I, O) ─▶ Q ─▶ DQ(axis 3) ─▶ Transpose(3, 2, 0, 1) ─▶ Conv
    after    w (O, I, H, W) ─▶ Q ─▶ DQ(axis 0) ─▶ Conv

TensorFlow stores weights this way. Folding constants computes the Transpose away and would lose the scale with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx_graphsurgeon as gs

from deploy.plan.scale import Scale

RESHAPES = {"Flatten", "Reshape", "Squeeze", "Unsqueeze"}


def carry_to_folded(graph: gs.Graph, scales: Mapping[str, Scale]) -> dict[str, Scale]:
    """`scales`, where constants that fold into others through Transposes and reshapes pass their scale on.

    Shapes must be inferred. A reshape that splits or merges the channels of a scale stops this.
    """
    known = dict(scales)
    constants = {name for name, tensor in graph.tensors().items() if isinstance(tensor, gs.Constant)}
    for node in graph.nodes:
        if not node.inputs or node.inputs[0].name not in constants & known.keys():
            continue
        scale = known[node.inputs[0].name]
        moved = _moved(node, scale)
        if moved is not None:
            known.setdefault(node.outputs[0].name, moved)
            constants.add(node.outputs[0].name)
            if len(node.inputs[0].outputs) == 1:
                del known[node.inputs[0].name]
    return known


def _moved(node: gs.Node, scale: Scale) -> Scale | None:
    if node.op != "Transpose" and node.op not in RESHAPES:
        return None
    if scale.axis is None:
        return scale
    before, after = node.inputs[0].shape, node.outputs[0].shape
    if node.op == "Transpose":
        order = list(node.attrs.get("perm", reversed(range(len(before)))))
        return Scale(scale.values, order.index(scale.axis))
    if after is None:
        return None
    leading = math.prod(before[: scale.axis])
    for axis, size in enumerate(after):
        if size == before[scale.axis] and math.prod(after[:axis]) == leading:
            return Scale(scale.values, axis)
    return None
