"""Decide where Q/DQ goes: apply the rules to an op graph and collect their requests and reasons."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.errors import UserError
from deploy.graph.opgraph import Edge, Node, OpGraph
from deploy.placement.rules.base import Keep, Match, Move, Rule, Skip, WeightUse
from deploy.plan.plan import BUDGET, SkippedNode

MAX_SPREAD = 4.0  # sharing one scale may cost a tensor two of its eight bits, no more
NO_READER = "nobody wants its result in INT8"


@dataclass(frozen=True)
class QuantizedEdge:
    """An activation that its reader gets through Q/DQ, and the rule that requested it."""

    edge: Edge
    rule: str


@dataclass(frozen=True)
class QuantizedWeight:
    """A weight with one scale per slice along `axis`."""

    use: WeightUse
    rule: str


@dataclass(frozen=True)
class Placement:
    """Where Q/DQ goes. All quantized uses of one tensor share one Q/DQ pair.

    `groups` are sets of tensors with one scale. A group may name tensors that have no pair of their own because
    theirs moved across an op that commutes with it.
    """

    edges: tuple[QuantizedEdge, ...]
    weights: tuple[QuantizedWeight, ...]
    skips: tuple[SkippedNode, ...]
    groups: tuple[tuple[str, ...], ...] = ()

    @property
    def by_tensor(self) -> dict[str, list[Edge]]:
        """Quantized uses of each activation tensor, in graph order."""
        grouped: dict[str, list[Edge]] = {}
        for item in self.edges:
            grouped.setdefault(item.edge.tensor, []).append(item.edge)
        return grouped


def placement(
    graph: OpGraph,
    rules: Sequence[Rule],
    skip: Iterable[str] = (),
    steps: Mapping[str, float] | None = None,
    floats: Mapping[str, str] | None = None,
) -> Placement:
    """Apply `rules` to every node.

    Requests that depend on others (`Match.when`, `Move`) are settled from the outputs towards the inputs, when
    everything that reads a node's result has been.

    Args:
        graph: the float network.
        rules: see `deploy.placement.rule_sets`. A `Keep` from any rule wins over a request from any other.
        skip: node-name patterns (fnmatch, module path with dots) whose inputs and weights stay float.
        steps: scale of every tensor that has one (its largest). A rule that needs another tensor does not fire, nor
            does one that ties scales too far apart. None: scales are still to come, and ties decide them.
        floats: further nodes that stay float, by name, and why: a plan's `measured_floats`.

    Raises:
        UserError: a rule's `match` returned something that is not a verdict.
    """
    draft = _Draft(graph, steps)
    patterns = tuple(skip)
    waiting: list[tuple[Node, Rule, Match | Move]] = []
    granted: list[tuple[Node, Rule, Match]] = []
    for node in graph.nodes:
        named = any(matches(node, pattern) for pattern in patterns)
        if named or node.name in (floats or {}):
            why = ("config", "named in placement.skip") if named else (BUDGET, (floats or {})[node.name])
            draft.skip(node, *why)
            draft.kept.update(Edge(tensor, node.name, index) for index, tensor in enumerate(node.inputs))
            continue
        for rule in rules:
            verdict = rule.match(graph, node)
            if isinstance(verdict, Keep | Skip):
                draft.skip(node, rule.name, verdict.why)
            if isinstance(verdict, Keep):
                draft.kept.update(verdict.edges)
            elif isinstance(verdict, Match) and not verdict.when:
                granted.append((node, rule, verdict))
            elif isinstance(verdict, Match | Move):
                waiting.append((node, rule, verdict))
            elif verdict is not None and not isinstance(verdict, Skip):
                raise UserError(
                    f"placement rule {rule.name}: match({node.name}) returned {type(verdict).__name__} {verdict!r:.40}",
                    why="a verdict is Match, Move, Keep, Skip or None",
                    fix="see docs/reference/placement.md",
                )
    for node, rule, match in granted:
        draft.grant(node, rule, match)
    for node, rule, verdict in reversed(waiting):
        if isinstance(verdict, Move):
            draft.move(node, rule, verdict)
        elif any(edge in draft.requested for edge in graph.uses(verdict.when)):
            draft.grant(node, rule, verdict)
        else:
            draft.skip(node, rule.name, NO_READER)
    return draft.finish()


class _Draft:
    """A placement while it is being decided."""

    def __init__(self, graph: OpGraph, steps: Mapping[str, float] | None) -> None:
        self.graph = graph
        self.steps = steps
        self.requested: dict[Edge, str] = {}
        self.weights: dict[WeightUse, str] = {}
        self.kept: set[Edge] = set()
        self.skips: list[SkippedNode] = []
        self.ties: list[tuple[str, ...]] = []

    def skip(self, node: Node, rule: str, why: str) -> None:
        self.skips.append(SkippedNode(node=node.name, rule=rule, why=why))

    def grant(self, node: Node, rule: Rule, match: Match) -> None:
        """Note the requests of `match`, unless a part of them is impossible."""
        parts = [*match.edges, *(Edge(use.tensor, use.node, use.index) for use in match.weights)]
        integers = sorted({part.tensor for part in parts} & self.graph.integers)
        unscaled = sorted({part.tensor for part in parts if self.steps is not None and part.tensor not in self.steps})
        kept = [part for part in parts if part in self.kept]
        spread = max((self._spread(tie) for tie in match.ties), default=1.0)
        if integers:
            self.skip(node, rule.name, f"{', '.join(integers)}: integers are not quantized")
        elif unscaled:
            self.skip(node, "scales", f"{rule.name}: no trained scale for {', '.join(unscaled)}")
        elif spread > MAX_SPREAD:
            self.skip(node, "scales", f"{rule.name}: trained scales differ {spread:.1f}-fold, too far for one")
        elif kept:
            self.skip(node, rule.name, f"input {kept[0].index} of {kept[0].node} stays float")
        else:
            for edge in match.edges:
                self.requested.setdefault(edge, rule.name)
            for use in match.weights:
                self.weights.setdefault(use, rule.name)
            self.ties += match.ties

    def _spread(self, tie: tuple[str, ...]) -> float:
        """Largest scale of `tie` over its smallest."""
        steps = [self.steps[tensor] for tensor in tie if tensor in self.steps] if self.steps else []
        return max(steps) / min(steps) if steps else 1.0

    def move(self, node: Node, rule: Rule, move: Move) -> None:
        """Take the pair off `move.output` and put it on `move.source`, if nobody reads the output in float."""
        uses = self.graph.uses(move.output)
        wanted = [edge for edge in uses if edge in self.requested]
        if not wanted:
            self.skip(node, rule.name, NO_READER)
        elif len(wanted) < len(uses) or move.output in self.graph.outputs:
            self.skip(node, rule.name, "its result is also needed in float")
        elif move.source in self.kept:
            self.skip(node, rule.name, "its input stays float")
        else:
            for edge in wanted:
                del self.requested[edge]
            self.requested[move.source] = rule.name
            self.ties.append((move.source.tensor, move.output))

    def finish(self) -> Placement:
        """Everything in graph order."""
        order = {node.name: position for position, node in enumerate(self.graph.nodes)}
        edges = sorted(self.requested, key=lambda edge: (order[edge.node], edge.index))
        return Placement(
            tuple(QuantizedEdge(edge, self.requested[edge]) for edge in edges),
            tuple(QuantizedWeight(use, rule) for use, rule in self.weights.items()),
            tuple(sorted(self.skips, key=lambda item: order[item.node])),
            _merged(self.ties),
        )


def _merged(ties: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Groups of tensors that `ties` connect, sorted."""
    groups: list[set[str]] = []
    for tie in ties:
        touching = [group for group in groups if group & set(tie)]
        groups = [group for group in groups if group not in touching]
        groups.append(set(tie).union(*touching))
    return tuple(sorted(tuple(sorted(group)) for group in groups))


def matches(node: Node, pattern: str) -> bool:
    """Return True if a config pattern names `node`: by its kind, its own name, or the module path in ONNX names.

    `/layer1/layer1.0/conv1/Conv` is also known as `layer1.0.conv1`. Kinds are not patterns: `C*` is not `Conv`.
    """
    return pattern == node.kind or any(
        fnmatch.fnmatchcase(name, pattern) for name in (node.name, module_path(node.name))
    )


def module_path(node_name: str) -> str:
    """Module path of an exporter's node name; other names are returned as they are."""
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
