"""The types of placement rules: a rule and its verdicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deploy.graph.opgraph import Edge, Node, OpGraph


@dataclass(frozen=True)
class WeightUse:
    """A constant weight: input `index` of `node`, one scale per slice along `axis`."""

    tensor: str
    node: str
    index: int
    axis: int


@dataclass(frozen=True)
class Match:
    """The rule fires: these uses get Q/DQ, all of them, or none if one must stay float.

    Attributes:
        edges: uses of activations.
        weights: uses of constants.
        ties: groups of tensors that must share one scale.
        when: the rule fires only if a reader takes this tensor in INT8; empty for always.
    """

    edges: tuple[Edge, ...] = ()
    weights: tuple[WeightUse, ...] = ()
    ties: tuple[tuple[str, ...], ...] = ()
    when: str = ""


@dataclass(frozen=True)
class Move:
    """The op commutes with Q/DQ: where every reader takes `output` in INT8, one pair on `source` serves all of them."""

    source: Edge
    output: str


@dataclass(frozen=True)
class Keep:
    """The rule forbids Q/DQ on these uses, whatever other rules request."""

    why: str
    edges: tuple[Edge, ...]


@dataclass(frozen=True)
class Skip:
    """The node is of the rule's kind, but the rule declines with a reason."""

    why: str


Verdict = Match | Move | Keep | Skip | None


@dataclass(frozen=True)
class Rule:
    """One placement rule. `match` reads the graph and never edits it; it returns None for nodes of another kind.

    Attributes:
        name: used in the config's `placement.disable` and in every report.
        reason: why TensorRT needs it, in one sentence.
        source: the document the rule comes from.
        match: returns the verdict on one node.
    """

    name: str
    reason: str
    source: str
    match: Callable[[OpGraph, Node], Verdict]


def input_edge(node: Node, index: int) -> Edge:
    """The use of input `index` by `node`."""
    return Edge(node.inputs[index], node.name, index)
