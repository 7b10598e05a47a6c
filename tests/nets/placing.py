"""From an ONNX file to a target's Q/DQ graph in one call, as `python -m deploy place` does it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.config import CalibrationConfig
from core.errors import UserError
from deploy.apply.apply import Applied, apply
from deploy.apply.calibrate import calibrate, complete
from deploy.apply.insert import StoredAs
from deploy.apply.target import Target, TargetConfig
from deploy.importing.import_plan import import_plan
from deploy.placement.rule_sets import select
from deploy.placement.rules import RULES
from deploy.placement.rules.base import Rule
from deploy.plan.images import read_images
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
    graph, plan = import_plan(source)
    if calibration is not None:
        images = list(read_images(calibration))
        if plan.tensors:
            plan = complete(plan, graph, images, [goal])
        else:
            plan = calibrate(graph, images, goal, CalibrationConfig(method="max"))
    elif not plan.tensors:
        raise UserError(f"{source} has no Q/DQ nodes", fix="run `make qat`, or give calibration images")
    return apply(graph, plan, goal)


def goal_of(backend: Backend) -> TargetConfig:
    """A backend's target under its own rules."""
    target = target_for(backend.target)
    return TargetConfig(target, select(target.rule_set))
