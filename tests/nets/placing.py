"""Turns an ONNX file into a target's Q/DQ graph in one call, as `python -m deploy place` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deploy.apply.apply import Applied, apply
from deploy.apply.insert import StoredAs
from deploy.apply.target import Target, TargetConfig
from deploy.apps.place import imported
from deploy.placement.rule_sets import select
from deploy.placement.rules import RULES
from deploy.placement.rules.base import Rule
from deploy.targets import TARGETS, target_for
from deploy.targets.base import Backend

SIGNED = TARGETS["tensorrt"]


def place(
    source: Path,
    rules: Sequence[Rule] = RULES,
    skip: Sequence[str] = (),
    weights: StoredAs = "int8",
    target: Target = SIGNED,
    calibration: Path | None = None,
) -> Applied:
    """Import `source`, complete its plan on `calibration`, and apply it."""
    goal = TargetConfig(target, rules, tuple(skip), weights)
    graph, plan = imported(source, goal, calibration)
    return apply(graph, plan, goal)


def goal_of(backend: Backend) -> TargetConfig:
    """A backend's target under its own rules."""
    target = target_for(backend.target)
    return TargetConfig(target, select(target.rule_set))
