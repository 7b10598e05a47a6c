"""Decide where Q/DQ goes: apply the rules to an op graph and collect what they ask for and why."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.opgraph import Edge, Node, OpGraph
from deploy.rules.base import Keep, Match, Rule, Skip, WeightUse

RULE_SET_VERSION = 1


@dataclass(frozen=True)
class QuantizedEdge:
    """An activation that its reader gets through Q/DQ, and the rule that asked for it."""

    edge: Edge
    rule: str


@dataclass(frozen=True)
class QuantizedWeight:
    """A weight with one scale per slice along `axis`."""

    use: WeightUse
    rule: str


@dataclass(frozen=True)
class SkippedNode:
    """A node that a rule looked at and left in float, and why."""

    node: str
    rule: str
    why: str


@dataclass(frozen=True)
class Placement:
    """Where Q/DQ goes. All quantized uses of one tensor share one Q/DQ pair."""

    edges: tuple[QuantizedEdge, ...]
    weights: tuple[QuantizedWeight, ...]
    skips: tuple[SkippedNode, ...]

    @property
    def by_tensor(self) -> dict[str, list[Edge]]:
        """Quantized uses of each activation tensor, in graph order."""
        grouped: dict[str, list[Edge]] = {}
        for item in self.edges:
            grouped.setdefault(item.edge.tensor, []).append(item.edge)
        return grouped

    def to_json(self) -> dict[str, Any]:
        """For `placement.json`."""
        return {
            "rule_set_version": RULE_SET_VERSION,
            "edges": [{**vars(item.edge), "rule": item.rule} for item in self.edges],
            "weights": [{**vars(item.use), "rule": item.rule} for item in self.weights],
            "skips": [vars(item) for item in self.skips],
        }


def placement(graph: OpGraph, rules: Sequence[Rule], skip: Iterable[str] = ()) -> Placement:
    """Apply `rules` in order to every node.

    Args:
        graph: the float network.
        rules: see `deploy.rules.RULES`. A `Keep` from any rule wins over a request from any other.
        skip: node-name patterns (fnmatch, module path with dots) whose inputs and weights stay float.
    """
    requested: dict[Edge, str] = {}
    weights: dict[WeightUse, str] = {}
    kept: set[Edge] = set()
    skips: list[SkippedNode] = []
    patterns = tuple(skip)
    for node in graph.nodes:
        if any(matches(node, pattern) for pattern in patterns):
            skips.append(SkippedNode(node.name, "config", "named in placement.skip"))
            kept.update(Edge(tensor, node.name, index) for index, tensor in enumerate(node.inputs))
            continue
        for rule in rules:
            verdict = rule.match(graph, node)
            if isinstance(verdict, Match):
                for edge in verdict.edges:
                    requested.setdefault(edge, rule.name)
                for use in verdict.weights:
                    weights.setdefault(use, rule.name)
            elif isinstance(verdict, Keep):
                kept.update(verdict.edges)
                skips.append(SkippedNode(node.name, rule.name, verdict.why))
            elif isinstance(verdict, Skip):
                skips.append(SkippedNode(node.name, rule.name, verdict.why))
    order = {node.name: position for position, node in enumerate(graph.nodes)}
    edges = sorted(requested.keys() - kept, key=lambda edge: (order[edge.node], edge.index))
    return Placement(
        tuple(QuantizedEdge(edge, requested[edge]) for edge in edges),
        tuple(QuantizedWeight(use, rule) for use, rule in weights.items()),
        tuple(skips),
    )


def matches(node: Node, pattern: str) -> bool:
    """Whether a config pattern names `node`: by its own name or by the module path that ONNX names carry.

    `/layer1/layer1.0/conv1/Conv` is also known as `layer1.0.conv1`.
    """
    return any(fnmatch.fnmatchcase(name, pattern) for name in (node.name, module_path(node.name)))


def module_path(node_name: str) -> str:
    """Module path of an exporter's node name; names that are no scope path are returned as they are."""
    if not node_name.startswith("/"):
        return node_name
    parts: list[str] = []
    for scope in node_name.strip("/").split("/")[:-1]:
        if parts and scope.startswith(".".join(parts) + "."):
            parts = [scope]  # the exporter repeats the whole path inside containers
        elif parts and scope.startswith(parts[-1] + "."):
            parts[-1] = scope
        else:
            parts.append(scope)
    return ".".join(parts) or node_name
