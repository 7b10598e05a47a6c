"""What a placement rule is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deploy.opgraph import Edge, Node, OpGraph


@dataclass(frozen=True)
class WeightUse:
    """A constant weight: input `index` of `node`, one scale per slice along `axis`."""

    tensor: str
    node: str
    index: int
    axis: int


@dataclass(frozen=True)
class Match:
    """The rule fires: these uses get Q/DQ."""

    edges: tuple[Edge, ...] = ()
    weights: tuple[WeightUse, ...] = ()


@dataclass(frozen=True)
class Keep:
    """The rule forbids Q/DQ on these uses, whatever other rules ask for."""

    why: str
    edges: tuple[Edge, ...]


@dataclass(frozen=True)
class Skip:
    """The node is of the rule's kind, but the rule declines, and says why."""

    why: str


Verdict = Match | Keep | Skip | None


@dataclass(frozen=True)
class Rule:
    """One placement rule. `match` reads the graph and never edits it; None means "not my kind of node".

    Attributes:
        name: what the config's `placement.disable` and every report call it.
        reason: why TensorRT wants it, in one sentence.
        source: the document the rule comes from.
        match: verdict on one node.
    """

    name: str
    reason: str
    source: str
    match: Callable[[OpGraph, Node], Verdict]


def input_edge(node: Node, index: int) -> Edge:
    """The use of input `index` by `node`."""
    return Edge(node.inputs[index], node.name, index)
