"""Bring a Q/DQ graph of any toolkit to the form the placement rules want, keeping its trained scales."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_graphsurgeon as gs

from core.errors import UserError
from deploy import onnx_graph, qdq
from deploy.placement import Placement, placement
from deploy.rules.base import Rule
from deploy.scales import carry, unify


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


def place(source: Path, rules: Sequence[Rule], skip: Iterable[str] = ()) -> Placed:
    """Strip the Q/DQ pairs of `source`, clean the float graph, and insert pairs where `rules` say.

    A scale is never invented: a rule that needs one the source does not have does not fire, and the skip says so.

    Args:
        source: an ONNX file with Q/DQ nodes.
        rules: from `deploy.profiles.select`.
        skip: node-name patterns that stay float.

    Raises:
        UserError: no Q/DQ in the graph, or pairs that cannot be re-placed (see `deploy.qdq.strip`).
    """
    graph = onnx_graph.load(source)
    trained = qdq.strip(graph)
    if not trained:
        raise UserError(f"{source} has no Q/DQ nodes", why="there are no scales to place", fix="run `make qat` first")
    graph = onnx_graph.clean(graph)
    view = onnx_graph.view(graph)
    scales = carry(view, trained)
    where = placement(view, rules, skip, {name: float(scale.values.max()) for name, scale in scales.items()})
    scales, widened = unify(where.groups, scales)
    qdq.insert(graph, where, scales)
    used = {item.edge.tensor for item in where.edges} | {item.use.tensor for item in where.weights}
    unused = trained.keys() - used.union(*where.groups)
    return Placed(graph, where, tuple(sorted(unused)), widened)
