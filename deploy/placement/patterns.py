"""A pattern of the config that names nothing is a typing error, and would quantize another network than was meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from core.config import PlacementConfig
from core.console import warn
from core.errors import UserError
from core.nearest import SHOWN, nearest
from deploy.graph.opgraph import WEIGHTED, Node, OpGraph
from deploy.placement.custom import load_rules
from deploy.placement.decide import matches, module_path
from deploy.placement.rules.base import Rule


def require_named(graph: OpGraph, config: PlacementConfig, own: Sequence[Rule] = ()) -> None:
    """Check every pattern of `placement` against the network, and that every rule of the user's own finds its kind.

    Args:
        graph: the float network.
        config: `skip` may name any node, `only` and `layers` name operators with weights.
        own: rules besides `config.custom`; one that matches no node gives a warning, not an error, since
            a file of rules may serve several networks.

    Raises:
        UserError: a pattern that names nothing; the fix shows the names nearest to it.
    """
    weighted = [node for node in graph.nodes if node.kind in WEIGHTED]
    for key, patterns, nodes in (
        ("placement.skip", config.skip, graph.nodes),
        ("placement.only", config.only, weighted),
        ("placement.layers", tuple(spec.match for spec in config.layers), weighted),
    ):
        require_each_names(key, patterns, nodes, graph.nodes)
    for rule in (*own, *(rule for path in config.custom for rule in load_rules(path))):
        if rule.name not in config.disable and all(rule.match(graph, node) is None for node in graph.nodes):
            warn(f"placement.custom: rule {rule.name} finds nothing of its kind in this network")


def require_each_names(key: str, patterns: Iterable[str], nodes: Sequence[Node], others: Sequence[Node] = ()) -> None:
    """Raise `UserError` for the first of `patterns` that names none of `nodes`.

    Args:
        key: the config key of the patterns.
        others: nodes that a pattern may not name, though they exist.
    """
    for pattern in unnamed(nodes, patterns):
        what = "no operator with weights" if _named(others, pattern) else "nothing in this network"
        raise UserError(
            f"{key}: {pattern} names {what}",
            why="patterns are fnmatch patterns of module paths, or kinds: " + ", ".join(_kinds(nodes)),
            fix=suggestion(pattern, [*map(_path, nodes), *_kinds(nodes)]),
        )


def unnamed(nodes: Iterable[Node], patterns: Iterable[str]) -> tuple[str, ...]:
    """Those of `patterns` that name none of `nodes`."""
    known = tuple(nodes)
    return tuple(pattern for pattern in patterns if not _named(known, pattern))


def suggestion(pattern: str, names: Iterable[str]) -> str:
    """Advice for a wrong `pattern`: the names nearest to it, or a few of the existing names."""
    known = list(dict.fromkeys(names))
    plain = re.sub(r"[*?\[\]]", "", pattern).strip(".")
    if near := nearest(plain, known, cutoff=0.5):
        return f"did you mean {', '.join(near)}?"
    return f"there are {', '.join(known[:SHOWN])}, … ({len(known)} names)"


def _named(nodes: Iterable[Node], pattern: str) -> list[Node]:
    return [node for node in nodes if matches(node, pattern)]


def _path(node: Node) -> str:
    return module_path(node.name)


def _kinds(nodes: Iterable[Node]) -> list[str]:
    return sorted({node.kind for node in nodes})
