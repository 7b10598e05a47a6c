"""Op graphs written as text: `y = Conv(x, w)`; names starting with `w`, `b` or `c_` are constants."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from deploy.graph.opgraph import Node, OpGraph
from deploy.placement.decide import placement
from deploy.placement.rules.base import Rule

_LINE = re.compile(r"(\w+) = (\w+)\(([\w, ]*)\)")


def net(
    text: str, outputs: str, shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({}), **attrs: dict[str, Any]
) -> OpGraph:
    """The graph that `text` describes; a node is named after its output, `attrs` are given by that name.

    `shapes` holds the shapes of constants, where rules read them.
    """
    nodes = []
    for line in filter(None, map(str.strip, text.splitlines())):
        found = _LINE.fullmatch(line)
        assert found, line
        name, kind, arguments = found.groups()
        inputs = tuple(filter(None, arguments.replace(" ", "").split(",")))
        nodes.append(Node(name, kind, inputs, (name,), attrs.get(name, {})))
    read = {tensor for node in nodes for tensor in node.inputs}
    constants = {tensor: shapes.get(tensor, (1,)) for tensor in read if tensor[0] in "wb" or tensor.startswith("c_")}
    inputs = read - constants.keys() - {node.name for node in nodes}
    return OpGraph(nodes, sorted(inputs), outputs.split(), constants)


def quantized(graph: OpGraph, *rules: Rule) -> set[tuple[str, str]]:
    """(tensor, reader) of every edge that `rules` quantize, weights excluded."""
    return {(item.edge.tensor, item.edge.node) for item in placement(graph, rules).edges}


def whys(graph: OpGraph, *rules: Rule) -> dict[str, str]:
    """Reason by node for everything `rules` skip."""
    return {skip.node: skip.why for skip in placement(graph, rules).skips}


def groups(graph: OpGraph, *rules: Rule) -> tuple[tuple[str, ...], ...]:
    """Tensors that `rules` let share a scale."""
    return placement(graph, rules).groups
