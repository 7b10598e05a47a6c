"""A point of the search: the rules that apply, the places where they do not, and the form of the graph."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.cli.naming import command
from core.errors import UserError
from core.files.artifacts import read_json
from deploy.apply.number_formats import Unsigned
from deploy.apply.passes import Pass
from deploy.apply.target import Target, TargetConfig
from deploy.graph.opgraph import Node, OpGraph
from deploy.placement.decide import module_path
from deploy.placement.partial import CONFIGURED
from deploy.placement.rules.base import Keep, Rule, Skip, Verdict
from deploy.targets.onnxruntime import target as onnxruntime

REWRITES: dict[str, Pass] = {step.name: step for step in onnxruntime.REWRITES}
SLOWER = "slower with it here: see the tuning file"


@dataclass(frozen=True)
class Scheme:
    """A placement that can be built.

    Attributes:
        rules: names of the rules that apply.
        without: (rule, region) where a rule does not apply; a region is the first name of a module path.
        unsigned: the activations that are uint8.
        rewrites: names of the rewrites before placement, in order.
    """

    rules: tuple[str, ...]
    without: frozenset[tuple[str, str]] = frozenset()
    unsigned: Unsigned = "never"
    rewrites: tuple[str, ...] = ()

    def select(self, known: Iterable[Rule]) -> tuple[Rule, ...]:
        """The rules of the scheme among `known`, silenced where the scheme says so."""
        return tuple(_silenced(rule, self.without) for rule in known if rule.name in {*self.rules, *CONFIGURED})

    def target(self, base: Target) -> Target:
        """`base` with the rewrites and number formats of the scheme."""
        return replace(base, rewrites=tuple(REWRITES[name] for name in self.rewrites), unsigned=self.unsigned)

    def to_json(self) -> dict[str, Any]:
        """Plain values in a fixed order."""
        return {
            "rules": list(self.rules),
            "without": sorted(map(list, self.without)),
            "unsigned": self.unsigned,
            "rewrites": list(self.rewrites),
        }


def scheme_of(goal: TargetConfig) -> Scheme:
    """The start of the search: a target's own rules, rewrites and number formats."""
    rewrites = tuple(step.name for step in goal.target.rewrites)
    return Scheme(tuple(rule.name for rule in goal.rules or ()), unsigned=goal.target.unsigned, rewrites=rewrites)


def read_scheme(path: Path) -> Scheme:
    """The scheme that a tuning file found.

    Raises:
        UserError: no such file, or it is not one that `python -m deploy autotune` wrote.
    """
    found = _read(path, "scheme")
    try:
        without = frozenset((rule, region) for rule, region in found["without"])
        return Scheme(tuple(found["rules"]), without, found["unsigned"], tuple(found["rewrites"]))
    except (ValueError, KeyError, TypeError) as error:
        raise _no_tuning_file(path, error) from error


def tuned_target(path: Path) -> str:
    """The target that a tuning file is for; raises as `read_scheme` does."""
    return str(_read(path, "target"))


def _read(path: Path, key: str) -> Any:
    try:
        return read_json(path)[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _no_tuning_file(path, error) from error


def _no_tuning_file(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is not a tuning file", why=repr(error), fix=f"make one with `{command('autotune')}`")


def region_of(node_name: str) -> str:
    """The part of the network that a node belongs to: `layer1` for `/layer1/0/conv1/Conv`."""
    return module_path(node_name).strip("/").split(".")[0].split("/")[0]


def _silenced(rule: Rule, without: frozenset[tuple[str, str]]) -> Rule:
    regions = {region for name, region in without if name == rule.name}
    if not regions:
        return rule

    def match(graph: OpGraph, node: Node) -> Verdict:
        verdict = rule.match(graph, node)
        silent = region_of(node.name) in regions and verdict is not None and not isinstance(verdict, Keep)
        return Skip(SLOWER) if silent else verdict

    return replace(rule, match=match)
