"""Bring a Q/DQ graph of any toolkit to the form the placement rules want, keeping its trained scales."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_graphsurgeon as gs

from core.errors import UserError
from deploy.apply import insert as qdq
from deploy.apply.dialects import PLAIN, Dialect
from deploy.apply.number_formats import respell
from deploy.apply.rewrites.fold_bn import fold_bn
from deploy.graph import onnx_graph
from deploy.graph.opgraph import OpGraph
from deploy.placement.decide import Placement, placement
from deploy.placement.patterns import unnamed
from deploy.placement.rules.base import Rule
from deploy.plan.carry import carry, unify
from deploy.plan.foreign import to_pairs
from deploy.plan.observe import observe
from deploy.plan.strip import strip
from deploy.plan.weight_layout import carry_to_folded


@dataclass(frozen=True)
class Placed:
    """Result of `place`.

    Attributes:
        graph: the ONNX graph with Q/DQ where the rules want it.
        placement: what is quantized, and every skip with its reason.
        unused: tensors that had a scale in the source but that no rule quantizes.
        widened: tensors whose scale became the larger one of the group they share it with.
        observed: tensors whose scale comes from calibration images, because the source has none.
        unnamed: patterns of `skip` that name no node here; a training graph may have nodes that export folds away.
        scales: the trained or observed scale of every quantized tensor, before the dialect spells it.
    """

    graph: gs.Graph
    placement: Placement
    unused: tuple[str, ...]
    widened: tuple[str, ...]
    observed: tuple[str, ...]
    unnamed: tuple[str, ...]
    scales: Mapping[str, qdq.Scale]

    def to_json(self) -> dict[str, Any]:
        """For `placement.json`: every quantized use with its scale, every skip with its why."""
        largest = {name: float(scale.values.max()) for name, scale in self.scales.items()}
        return {
            **self.placement.to_json(),
            "scales": largest,
            "unused_scales": list(self.unused),
            "widened_scales": list(self.widened),
            "observed_scales": list(self.observed),
        }


def place(
    source: Path,
    rules: Sequence[Rule],
    skip: Iterable[str] = (),
    weights: qdq.StoredAs = "int8",
    dialect: Dialect = PLAIN,
    calibration: Path | None = None,
) -> Placed:
    """Strip the Q/DQ pairs of `source`, clean the float graph, and insert pairs where `rules` say.

    A scale is never invented: a rule that needs one that is neither in the source nor observed on `calibration` does
    not fire, and the skip says so.

    Args:
        source: an ONNX file, with Q/DQ nodes or (with `calibration`) without.
        rules: from `deploy.placement.rule_sets.select`.
        skip: node-name patterns that stay float.
        weights: how weights are stored (see `deploy.apply.insert.insert`).
        dialect: the form that the engine wants.
        calibration: images for tensors that have no scale (see `deploy.plan.observe.read_images`).

    Raises:
        UserError: no Q/DQ in the graph and no images, or pairs that cannot be re-placed (see `deploy.plan.foreign` and
            `deploy.plan.strip`).
    """
    graph = to_pairs(onnx_graph.load(source))
    trained = strip(graph)
    if not trained and calibration is None:
        raise UserError(
            f"{source} has no Q/DQ nodes",
            why="there are no scales to place",
            fix="run `make qat` first, or give calibration images",
        )
    is_float = not trained
    trained = carry_to_folded(graph, trained)
    graph = onnx_graph.clean(graph)
    trained = fold_bn(graph, trained)
    for rewrite in dialect.rewrites:
        trained = rewrite(graph, trained)
    view = onnx_graph.view(graph)
    if is_float:
        trained |= _weight_scales(graph, placement(view, rules, skip))
    scales = carry(view, trained)
    observed = () if calibration is None else _without_scale(view, rules, skip, scales)
    if calibration is not None and observed:
        scales |= observe(graph, observed, calibration)
    where = placement(view, rules, skip, {name: float(scale.values.max()) for name, scale in scales.items()})
    scales, widened = unify(where.groups, scales)
    _check_axes(where, scales)
    qdq.insert(graph, where, scales, weights)
    respell(graph, dialect.unsigned)
    used = {item.edge.tensor for item in where.edges} | {item.use.tensor for item in where.weights}
    unused = trained.keys() - used.union(*where.groups)
    written = {name: scale for name, scale in scales.items() if name in used}
    return Placed(graph, where, tuple(sorted(unused)), widened, observed, unnamed(view.nodes, skip), written)


def _without_scale(
    view: OpGraph, rules: Sequence[Rule], skip: Iterable[str], scales: Mapping[str, qdq.Scale]
) -> tuple[str, ...]:
    """Activations that the rules would quantize if they had a scale."""
    wanted = placement(view, rules, skip)
    tensors = dict.fromkeys([*wanted.by_tensor, *(name for group in wanted.groups for name in group)])
    return tuple(name for name in tensors if name not in scales)


def _weight_scales(graph: gs.Graph, wanted: Placement) -> dict[str, qdq.Scale]:
    """Scales of float weights: the largest magnitude of each output channel is 127 steps."""
    tensors = graph.tensors()
    return {item.use.tensor: qdq.max_scale(tensors[item.use.tensor].values, item.use.axis) for item in wanted.weights}


def _check_axes(where: Placement, scales: Mapping[str, qdq.Scale]) -> None:
    """Raise `UserError` naming the ops whose weight has its scales along another axis than INT8 kernels take."""
    wrong = [item.use.node for item in where.weights if scales[item.use.tensor].axis not in (None, item.use.axis)]
    if wrong:
        raise UserError(
            f"{', '.join(wrong[:5])}: weight scales along the wrong axis",
            why="an INT8 kernel has one scale for each output channel",
            fix="quantize weights per output channel or per tensor, or name the nodes in --skip",
        )
