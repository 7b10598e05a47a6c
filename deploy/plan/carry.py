"""Ranges on their way through a graph: carried across ops that commute, made equal where rules tie tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from deploy.graph.opgraph import OpGraph, commutes
from deploy.plan.plan import QuantizationPlan, TensorPlan


def carry(graph: OpGraph, plan: QuantizationPlan) -> QuantizationPlan:
    """`plan` with missing ranges filled in from the other side of ops that commute with Q/DQ.

    A range passes a Relu only forwards: rounding before and after it is the same, but the range of its result lacks the
    values that it cuts off. A range passes backwards only through the sole reader of a tensor: another reader's range
    may be larger.
    """
    tensors = dict(plan.tensors)
    movers = [node for node in graph.nodes if commutes(node)]
    for node in (node for node in graph.nodes if commutes(node) or node.kind == "Relu"):
        _copy(tensors, node.inputs[0], node.outputs[0])
    for node in reversed(movers):
        if graph.only_reader(node.inputs[0]) is not None:
            _copy(tensors, node.outputs[0], node.inputs[0])
    return plan.model_copy(update={"tensors": tensors})


def _copy(tensors: dict[str, TensorPlan], source: str, target: str) -> None:
    if source in tensors and tensors[source].axis is None:
        tensors.setdefault(target, tensors[source].model_copy(update={"uses": (), "group": None}))


def unify(groups: Iterable[Sequence[str]], plan: QuantizationPlan) -> tuple[QuantizationPlan, tuple[str, ...]]:
    """Give each group the largest scale of its members, so that no further value is clipped.

    Returns:
        The plan, with the name of its group in each member, and the tensors whose scale grew.
    """
    tensors = {name: tensor.model_copy(update={"group": None}) for name, tensor in plan.tensors.items()}
    widened = []
    for group in groups:
        members = [name for name in group if name in tensors]
        if not members:
            continue
        name = min(members)
        largest = max((tensors[member] for member in members), key=lambda tensor: float(np.max(tensor.scale)))
        for member in members:
            if tensors[member].scale != largest.scale:
                widened.append(member)
            changed = {"scale": largest.scale, "axis": largest.axis, "origin": largest.origin, "group": name}
            tensors[member] = tensors[member].model_copy(update=changed)
    return plan.model_copy(update={"tensors": tensors}), tuple(sorted(widened))
