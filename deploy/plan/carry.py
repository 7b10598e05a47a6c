"""Trained scales on their way through a graph: carried across ops that commute, made equal where the rules tie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from deploy.apply.insert import Scale
from deploy.graph.opgraph import OpGraph, commutes


def carry(graph: OpGraph, scales: Mapping[str, Scale]) -> dict[str, Scale]:
    """`scales` and, across ops that commute with Q/DQ, the scale of the other side where one side has none.

    Past a Relu only forwards: rounding before it or after it is the same, but what it cuts off is not in its result's
    range. Backwards only past an op that alone reads its input: another reader's range may be larger.
    """
    known = dict(scales)
    movers = [node for node in graph.nodes if commutes(node)]
    for node in (node for node in graph.nodes if commutes(node) or node.kind == "Relu"):
        _copy(known, node.inputs[0], node.outputs[0])
    for node in reversed(movers):
        if graph.only_reader(node.inputs[0]) is not None:
            _copy(known, node.outputs[0], node.inputs[0])
    return known


def _copy(scales: dict[str, Scale], source: str, target: str) -> None:
    if source in scales and scales[source].axis is None:
        scales.setdefault(target, scales[source])


def unify(groups: Iterable[Sequence[str]], scales: Mapping[str, Scale]) -> tuple[dict[str, Scale], tuple[str, ...]]:
    """Give each group the largest scale of its members, so that nothing is clipped that was not before.

    Returns:
        All scales, and the tensors whose scale grew.
    """
    shared = dict(scales)
    for group in groups:
        members = [tensor for tensor in group if tensor in scales]
        if members:
            largest = max((scales[tensor] for tensor in members), key=lambda scale: float(np.max(scale.values)))
            shared.update(dict.fromkeys(members, largest))
    widened = tuple(sorted(name for name in scales if float(np.max(shared[name].values - scales[name].values)) > 0))
    return shared, widened
