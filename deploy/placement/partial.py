"""Partial quantization: rules restricted to the layers that the config chooses, the same for training and for engines.

    only: [layer3.*]                          only: every other weighted op stays float
    layers: [{match: head, inputs: false}]    head's weights are quantized, its input is not

Patterns name weighted ops (Conv, ConvTranspose, Gemm), whose names PyTorch and ONNX share. An op without weights (Add,
Concat, a pool) takes part where all weighted ops that its inputs come from do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from core.config import LayerSpec
from deploy.graph.opgraph import WEIGHTED, Node, OpGraph
from deploy.placement.decide import matches
from deploy.placement.rules.base import Keep, Match, Rule, Skip, Verdict, input_edge

ONLY, ONE_SIDE = "only", "one-side"
CONFIGURED = frozenset({ONLY, ONE_SIDE})  # a search must not switch this rule off
SOURCE = "placement.only and placement.layers of the config"


def restricted(rules: Sequence[Rule], only: Sequence[str] = (), layers: Sequence[LayerSpec] = ()) -> tuple[Rule, ...]:
    """`rules`, restricted to the layers of `only` and `layers`; unchanged where both are empty."""
    found = tuple(rules)
    if layers:
        found = (*(_halved(rule, layers) for rule in found), _announcement(layers))
    return (*found, _exclusion(only)) if only else found


def halves(node: Node, layers: Sequence[LayerSpec]) -> LayerSpec | None:
    """The last of `layers` that names `node`, if it leaves one of its sides float."""
    named = [spec for spec in layers if node.kind in WEIGHTED and matches(node, spec.match)]
    return named[-1] if named and not (named[-1].inputs and named[-1].weights) else None


def _halved(rule: Rule, layers: Sequence[LayerSpec]) -> Rule:
    def match(graph: OpGraph, node: Node) -> Verdict:
        verdict = rule.match(graph, node)
        spec = halves(node, layers)
        if not isinstance(verdict, Match) or spec is None:
            return verdict
        edges = tuple(edge for edge in verdict.edges if spec.inputs or edge.node != node.name)
        weights = verdict.weights if spec.weights else ()
        return replace(verdict, edges=edges, weights=weights) if edges or weights else Skip("placement.layers")

    return replace(rule, match=match)


def _announcement(layers: Sequence[LayerSpec]) -> Rule:
    """A rule that notes half-quantized ops in every report; `deploy.checks.verify` accepts them."""

    def match(graph: OpGraph, node: Node) -> Verdict:
        spec = halves(node, layers)
        return (
            None if spec is None else Skip(f"placement.layers: its {'weight' if spec.inputs else 'input'} stays float")
        )

    return Rule(ONE_SIDE, "one side of an op may be quantized alone, which no INT8 kernel computes", SOURCE, match)


def _exclusion(only: Sequence[str]) -> Rule:
    def match(graph: OpGraph, node: Node) -> Verdict:
        if _chosen(graph, node, only):
            return None
        edges = tuple(input_edge(node, index) for index in range(len(node.inputs)))
        return Keep("not named in placement.only", edges)

    return Rule(ONLY, "the config chooses which layers are quantized", SOURCE, match)


def _chosen(graph: OpGraph, node: Node, only: Sequence[str]) -> bool:
    origins = [node] if node.kind in WEIGHTED else list(_origins(graph, node))
    return bool(origins) and all(any(matches(origin, pattern) for pattern in only) for origin in origins)


def _origins(graph: OpGraph, node: Node) -> Iterator[Node]:
    """The weighted ops that the inputs of `node` come from."""
    waiting, seen = list(node.inputs), set()
    while waiting:
        producer = graph.producer(waiting.pop())
        if producer is None or producer.name in seen:
            continue
        seen.add(producer.name)
        if producer.kind in WEIGHTED:
            yield producer
        else:
            waiting += producer.inputs
