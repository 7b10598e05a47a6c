"""Bring a Q/DQ graph of any toolkit to the form the placement rules want, keeping its trained scales."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_graphsurgeon as gs

from core.errors import UserError
from deploy import onnx_graph, qdq
from deploy.placement import Placement, SkippedNode, placement
from deploy.rules.base import Rule


@dataclass(frozen=True)
class Placed:
    """Result of `place`.

    Attributes:
        graph: the ONNX graph with Q/DQ where the rules want it.
        placement: what is quantized, and every skip with its reason.
        unused: tensors that had a scale in the source but that no rule quantizes.
    """

    graph: gs.Graph
    placement: Placement
    unused: tuple[str, ...]


def place(source: Path, rules: Sequence[Rule], skip: Iterable[str] = ()) -> Placed:
    """Strip the Q/DQ pairs of `source`, clean the float graph, and insert pairs where `rules` say.

    Args:
        source: an ONNX file with Q/DQ nodes.
        rules: from `deploy.rules.select`.
        skip: node-name patterns that stay float.

    Raises:
        UserError: no Q/DQ in the graph, or pairs that cannot be re-placed (see `deploy.qdq.strip`).
    """
    graph = onnx_graph.load(source)
    scales = qdq.strip(graph)
    if not scales:
        raise UserError(f"{source} has no Q/DQ nodes", why="there are no scales to place", fix="run `make qat` first")
    graph = onnx_graph.clean(graph)
    where, unused = scaled(placement(onnx_graph.view(graph), rules, skip), scales)
    qdq.insert(graph, where, scales)
    return Placed(graph, where, unused)


def scaled(where: Placement, scales: Mapping[str, qdq.Scale]) -> tuple[Placement, tuple[str, ...]]:
    """Keep what has a trained scale; a scale is never invented. Returns the rest of the scales' names too.

    A weighted op is quantized on both operands or not at all: with one of them in float it would run in float
    and pay for the Q/DQ as well.
    """
    half = {item.use.node for item in where.weights if item.use.tensor not in scales}
    half |= {
        item.use.node
        for item in where.weights
        for edge in where.edges
        if edge.edge.node == item.use.node and edge.edge.tensor not in scales
    }
    edges = tuple(item for item in where.edges if item.edge.tensor in scales and item.edge.node not in half)
    weights = tuple(item for item in where.weights if item.use.node not in half)
    missing = [item.edge for item in where.edges if item not in edges]
    skips = tuple(
        SkippedNode(edge.node, "scales", f"no trained scale for {edge.tensor} or its weight") for edge in missing
    )
    used = {item.edge.tensor for item in edges} | {item.use.tensor for item in weights}
    unused = tuple(sorted(scales.keys() - used))
    return replace(where, edges=edges, weights=weights, skips=where.skips + skips), unused
