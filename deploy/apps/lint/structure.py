"""Findings on where pairs stand: places that a target's placement rules would change, and faults that no pair fixes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from deploy.apps.lint.finding import PLACEMENT, Finding, Severity
from deploy.apps.lint.nature import nature_findings
from deploy.graph import onnx_graph
from deploy.graph.opgraph import DEQUANTIZE, WEIGHTED, Edge, OpGraph
from deploy.importing.foreign import to_pairs
from deploy.importing.strip import strip
from deploy.placement.decide import MAX_SPREAD, placement
from deploy.placement.rules import concat
from deploy.placement.rules.base import Keep, Rule
from deploy.plan.scale import Scale

UNWANTED = "no rule wants a pair here: it rounds, and no kernel fuses with it"
# A pair that is missing there costs a requantizing kernel or a float one; elsewhere TensorRT moves pairs itself.
_INFO = {"commuting-ops", "pad-conv", "pre-activation-bn"}


@dataclass(frozen=True)
class Placed:
    """A graph without its pairs, and the uses and scales that they were for.

    Attributes:
        quantized: (node, input number) of every use that read a DQ.
    """

    view: OpGraph
    quantized: frozenset[tuple[str, int]]
    scales: dict[str, Scale]


def taken_apart(graph: gs.Graph) -> Placed:
    """`graph` with every Q/DQ pair taken out; BatchNorm is not folded.

    Raises:
        UserError: pairs that have no plain form (see `deploy.importing.foreign`).
    """
    pairs = to_pairs(graph)
    onnx_graph.name_nodes(pairs)
    quantized = frozenset(
        (reader.name, index)
        for node in pairs.nodes
        if node.op == DEQUANTIZE
        for reader in node.outputs[0].outputs
        for index, tensor in enumerate(reader.inputs)
        if tensor is node.outputs[0]
    )
    scales = strip(pairs)
    return Placed(onnx_graph.view(onnx_graph.clean(pairs)), quantized, scales)


def structure_findings(placed: Placed, rules: Sequence[Rule]) -> Iterator[Finding]:
    """Places where `rules` need a missing pair or forbid one that exists, and parts that are slow by nature."""
    view = placed.view
    where = placement(view, rules)
    by_name = {rule.name: rule for rule in rules}
    wanted = {(item.edge.node, item.edge.index): item.rule for item in where.edges}
    wanted |= {(item.use.node, item.use.index): item.rule for item in where.weights}
    kept = _kept(view, rules)
    for place, name in wanted.items():
        if place not in placed.quantized and not _behind_pair(view, place, placed.quantized):
            tensor = view.node(place[0]).inputs[place[1]]
            alone = name not in _INFO or _feeds_float(view, place[0], placed.quantized)
            severity: Severity = "warning" if alone else "info"
            why = f"input {place[1]} ({tensor}) is float: {by_name[name].reason}"
            yield Finding(severity, name, place[0], why, by_name[name].source)
    nodes = {node.name for node in view.nodes}
    for place in sorted(placed.quantized - wanted.keys()):
        if place[0] not in nodes or place[1] >= len(view.node(place[0]).inputs):
            continue
        edge = Edge(view.node(place[0]).inputs[place[1]], place[0], place[1])
        rule = kept.get(edge)
        if rule is not None and rule.name != "never-bias":
            why = f"input {place[1]} ({edge.tensor}) has a pair: {rule.reason}"
            yield Finding("warning", rule.name, place[0], why, rule.source)
        elif rule is None and not _moved(view, edge, wanted):
            yield Finding("info", "unwanted-pair", place[0], f"input {place[1]} ({edge.tensor}): {UNWANTED}", PLACEMENT)
    yield from _unequal(placed, where.groups)
    yield from nature_findings(view, kept, placed.scales)


def _kept(view: OpGraph, rules: Sequence[Rule]) -> dict[Edge, Rule]:
    found: dict[Edge, Rule] = {}
    for node in view.nodes:
        for rule in rules:
            verdict = rule.match(view, node)
            if isinstance(verdict, Keep):
                found |= dict.fromkeys(verdict.edges, rule)
    return found


def _behind_pair(view: OpGraph, place: tuple[str, int], quantized: frozenset[tuple[str, int]]) -> bool:
    """Return True if every reader of the node's copy has the pair instead: TensorRT moves it in front by itself."""
    node = view.node(place[0])
    if node.kind in WEIGHTED or len(node.outputs) != 1:
        return False
    readers = view.uses(node.outputs[0])
    return node.kind != "Concat" and bool(readers) and all((use.node, use.index) in quantized for use in readers)


def _feeds_float(view: OpGraph, name: str, quantized: frozenset[tuple[str, int]]) -> bool:
    """Return True if an operator with an INT8 kernel reads the node's result in float and another operand in INT8."""
    return any(
        view.node(use.node).kind in WEIGHTED
        and (use.node, use.index) not in quantized
        and any((use.node, index) in quantized for index in range(2))
        for use in view.uses(view.node(name).outputs[0])
    )


def _moved(view: OpGraph, edge: Edge, wanted: dict[tuple[str, int], str]) -> bool:
    """Return True if the rules place this pair in front of the copy that makes the tensor."""
    producer = view.producer(edge.tensor)
    while producer is not None and producer.inputs:
        if (producer.name, 0) in wanted and wanted[producer.name, 0] in _INFO:
            return True
        producer = view.producer(producer.inputs[0]) if producer.kind not in WEIGHTED else None
    return False


def _unequal(placed: Placed, groups: Sequence[Sequence[str]]) -> Iterator[Finding]:
    """Groups whose members have scales of their own."""
    for node in placed.view.nodes:
        if node.kind != "Concat" or not any(set(node.inputs) <= set(group) for group in groups):
            continue
        steps = [placed.scales[name].largest for name in (*node.inputs, *node.outputs) if name in placed.scales]
        if steps and max(steps) > 1.001 * min(steps):
            spread = max(steps) / min(steps)
            far = f", too far for one (over {MAX_SPREAD:g})" if spread > MAX_SPREAD else ""
            why = f"scales differ {spread:.2f}-fold{far}: {concat.RULE.reason}"
            yield Finding("warning", "concat-scales", node.name, why, concat.RULE.source)
