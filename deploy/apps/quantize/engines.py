"""From a float graph and its plan to the engines of every chosen backend, each at all its precisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx_graphsurgeon as gs

from core.backends import BACKEND_NAMES
from core.errors import UserError
from core.files.artifacts import write_json
from deploy.apply.apply import apply, decided
from deploy.apply.bias_correction import Errors, corrected
from deploy.apply.fp16 import to_fp16
from deploy.apply.target import TargetConfig
from deploy.bundle.types import BuildOptions, Bundle, Precision
from deploy.checks.write import write_verified
from deploy.pipeline import BuildOutcome, attempt, ensure_bundle, placement_summary
from deploy.placement.rule_sets import select
from deploy.plan.plan import QuantizationPlan, Use
from deploy.targets import get_backend, target_for
from deploy.targets.base import Backend

AUTO = "auto"


def chosen_backends(names: Sequence[str]) -> list[Backend]:
    """The backends of these names; with none, or `auto`, all that run here.

    Raises:
        UserError: a name is not a backend's.
    """
    if not names or tuple(names) == (AUTO,):
        found = [get_backend(name) for name in BACKEND_NAMES]
        return [backend for backend in found if backend.runnable(backend.precisions[0]) is None]
    return [get_backend(name) for name in dict.fromkeys(names)]


@dataclass(frozen=True)
class Workshop:
    """The folder that engines are made in, and their common source.

    Attributes:
        folder: holds `float.onnx`, the Q/DQ graph of each target, and a folder for each engine.
        options: of every builder, besides its precision: threads, and the meaning of the network's tensors.
        graph: the float network of `plan`; INT8 graphs are made of it.
        uint8: signed activations in uint8 too, where the target takes both.
        floors: uint8 from the least value that a tensor can have, where the target takes uint8.
        errors: gives the mean error of each operator for a backend, which its bias takes up; None leaves biases alone.
    """

    folder: Path
    graph: gs.Graph
    plan: QuantizationPlan
    options: BuildOptions
    skip: Sequence[str] = ()
    errors: Callable[[Backend], Errors] | None = None
    uint8: bool = False
    floors: bool = False

    def goal(self, backend: Backend) -> TargetConfig:
        """A backend's target under its own rules."""
        target = target_for(backend.target)
        if self.uint8 and target.unsigned == "non-negative":
            target = replace(target, unsigned="always")
        target = replace(target, floors=self.floors and target.unsigned != "never")
        return TargetConfig(target, select(target.rule_set), tuple(self.skip))

    def decided(self, backend: Backend) -> QuantizationPlan:
        """The plan by a backend's rules, on the graph before its rewrites."""
        return decided(self.graph, self.plan, self.goal(backend))

    def _weight_uses(self, backend: Backend) -> list[Use]:
        return [use for weight in self.decided(backend).weights.values() for use in weight.uses]

    @property
    def float_onnx(self) -> Path:
        return self.folder / "float.onnx"

    def outcome(self, backend: Backend, precision: Precision) -> BuildOutcome:
        """The engine, or why there is none."""
        return attempt(backend, precision, lambda: self._build(backend, precision))

    def _build(self, backend: Backend, precision: Precision) -> tuple[Path, Bundle]:
        source, placement = self.float_onnx, dict[str, Any]()
        if precision == "fp16":
            source = self.folder / "fp16.onnx"
            to_fp16(self.float_onnx, source)
        elif precision == "int8":
            source, placement = self.place(backend)
        options = replace(self.built_for(precision), placement=placement)
        out = self.folder / f"{backend.name}-{precision}"
        return source, ensure_bundle(backend, source, out, options, self.folder / "stages.json")

    def built_for(self, precision: Precision) -> BuildOptions:
        """The options of a builder at this precision."""
        return replace(self.options, precision=precision)

    def place(self, backend: Backend) -> tuple[Path, dict[str, Any]]:
        """The verified Q/DQ graph for a backend, and what its manifest says of it.

        Raises:
            UserError: no tensor would be quantized, or the graph breaks an invariant.
        """
        goal = self.goal(backend)
        graph, plan = self.graph, self.plan
        if self.errors is not None:
            found, quantized = self.errors(backend), {use.node for use in self._weight_uses(backend)}
            graph = corrected(graph, {node: error for node, error in found.items() if node in quantized})
        applied = apply(graph, plan, goal)
        if not applied.plan.quantized:
            raise UserError(f"nothing would be quantized for {backend.name}", why="no rule finds a tensor")
        path = self.folder / f"{goal.target.name}.onnx"
        write_verified(applied, goal.target, path)
        write_json(path.with_suffix(".placement.json"), applied.plan.to_json())
        return path, placement_summary(goal.target.name, [skip.rule for skip in applied.plan.skips])
