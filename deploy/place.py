"""Bring a Q/DQ graph of any toolkit to the form the placement rules want, keeping its trained scales."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_graphsurgeon as gs

from core.errors import UserError
from deploy import onnx_graph, qdq
from deploy.fold_bn import fold_bn
from deploy.foreign import to_pairs
from deploy.placement import Placement, placement
from deploy.rules.base import Rule
from deploy.scales import carry, unify
from deploy.strip import strip
from deploy.weight_layout import carry_to_folded


@dataclass(frozen=True)
class Placed:
    """Result of `place`.

    Attributes:
        graph: the ONNX graph with Q/DQ where the rules want it.
        placement: what is quantized, and every skip with its reason.
        unused: tensors that had a scale in the source but that no rule quantizes.
        widened: tensors whose scale became the larger one of the group they share it with.
    """

    graph: gs.Graph
    placement: Placement
    unused: tuple[str, ...]
    widened: tuple[str, ...]


def place(source: Path, rules: Sequence[Rule], skip: Iterable[str] = (), weights: qdq.StoredAs = "int8") -> Placed:
    """Strip the Q/DQ pairs of `source`, clean the float graph, and insert pairs where `rules` say.

    A scale is never invented: a rule that needs one the source does not have does not fire, and the skip says so.

    Args:
        source: an ONNX file with Q/DQ nodes.
        rules: from `deploy.profiles.select`.
        skip: node-name patterns that stay float.
        weights: how weights are stored (see `deploy.qdq.insert`).

    Raises:
        UserError: no Q/DQ in the graph, or pairs that cannot be re-placed (see `deploy.foreign` and `deploy.strip`).
    """
    graph = to_pairs(onnx_graph.load(source))
    trained = strip(graph)
    if not trained:
        raise UserError(f"{source} has no Q/DQ nodes", why="there are no scales to place", fix="run `make qat` first")
    trained = carry_to_folded(graph, trained)
    graph = onnx_graph.clean(graph)
    trained = fold_bn(graph, trained)
    view = onnx_graph.view(graph)
    scales = carry(view, trained)
    where = placement(view, rules, skip, {name: float(scale.values.max()) for name, scale in scales.items()})
    scales, widened = unify(where.groups, scales)
    _check_axes(where, scales)
    qdq.insert(graph, where, scales, weights)
    used = {item.edge.tensor for item in where.edges} | {item.use.tensor for item in where.weights}
    unused = trained.keys() - used.union(*where.groups)
    return Placed(graph, where, tuple(sorted(unused)), widened)


def _check_axes(where: Placement, scales: Mapping[str, qdq.Scale]) -> None:
    """Raise `UserError` naming the ops whose weight has its scales along another axis than INT8 kernels take."""
    wrong = [item.use.node for item in where.weights if scales[item.use.tensor].axis not in (None, item.use.axis)]
    if wrong:
        raise UserError(
            f"{', '.join(wrong[:5])}: weight scales along the wrong axis",
            why="an INT8 kernel has one scale for each output channel",
            fix="quantize weights per output channel or per tensor, or name the nodes in --skip",
        )
