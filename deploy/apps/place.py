"""`python -m deploy place | calibrate | apply`: plans and Q/DQ graphs from files, without a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from core.cli.naming import command
from core.config import CalibrationConfig, PlacementConfig
from core.errors import GateMissed, UserError
from core.files.artifacts import write_json, write_text
from core.files.user_code import place_in_user_code
from deploy.apply.apply import Applied, apply
from deploy.apply.calibrate import calibrate, complete
from deploy.apply.insert import StoredAs
from deploy.apply.target import PORTABLE, TargetConfig
from deploy.apps.dot import to_dot
from deploy.checks.write import write_verified
from deploy.graph import onnx_graph
from deploy.importing.import_plan import import_plan
from deploy.placement.partial import restricted
from deploy.placement.patterns import require_named
from deploy.placement.rule_sets import select
from deploy.plan.images import read_images
from deploy.plan.plan import QuantizationPlan, read_plan, write_plan
from deploy.targets import TARGETS, target_for


@dataclass(frozen=True)
class Choices:
    """The restrictions that a user may set on the command line; see `python -m deploy place --help`."""

    target: str = "tensorrt"
    custom: Sequence[Path] = ()
    disable: Sequence[str] = ()
    only: Sequence[str] = ()
    skip: Sequence[str] = ()
    weights: StoredAs = "int8"

    def goal(self, target: str | None = None) -> TargetConfig:
        """The chosen target, or another one, under the same restrictions."""
        found = target_for(target or self.target)
        rules = restricted(select(found.rule_set, self.disable, self.custom), self.only)
        return TargetConfig(found, rules, tuple(self.skip), self.weights)

    @property
    def named(self) -> PlacementConfig:
        """The patterns, for checking that they name something."""
        return PlacementConfig(skip=tuple(self.skip), only=tuple(self.only))


def place(
    source: Path, out: Path, choices: Choices, calibration: Path | None = None, dot: Path | None = None
) -> Applied:
    """Bring any ONNX graph to the placement of a target; also writes OUT.placement.json beside it.

    Args:
        source: a Q/DQ graph of any toolkit; or, with `calibration`, a float graph.
        calibration: images for scales that the source lacks (see `deploy.plan.images`).
        dot: file for the graph as Graphviz text.

    Raises:
        UserError: no Q/DQ in the graph and no images, nothing to quantize, or pairs that have no plain form.
    """
    goal = choices.goal()
    with _blamed_on(source):
        graph, plan = imported(source, goal, calibration)
        require_named(onnx_graph.view(graph), choices.named)
        applied = apply(graph, plan, goal)
        _write(applied, goal, out, dot)
    return applied


def imported(source: Path, goal: TargetConfig, calibration: Path | None) -> tuple[gs.Graph, QuantizationPlan]:
    """The float graph and the plan of any ONNX file; scales that `goal` needs come from `calibration`.

    Raises:
        UserError: the file has no Q/DQ nodes, and there are no images.
    """
    graph, plan = import_plan(source)
    if calibration is None:
        if not plan.tensors:
            raise UserError(
                f"{source} has no Q/DQ nodes",
                why="there are no scales to place",
                fix="give calibration images, or the Q/DQ graph of a run",
            )
        return graph, plan
    images = list(read_images(calibration))
    if plan.tensors:
        return graph, complete(plan, graph, images, [goal])
    return graph, calibrate(graph, images, goal, CalibrationConfig(method="max"))


def make_plan(
    source: Path, images: Iterable[NDArray[np.float32]], folder: Path, choices: Choices, config: CalibrationConfig
) -> tuple[Path, Path]:
    """Calibrate a float ONNX file; returns the paths of `float.onnx`, clean and BatchNorm folded, and `plan.json`.

    Args:
        images: network inputs, float32 (1, C, H, W) each.
        folder: both files are written there.

    Raises:
        UserError: the file is already quantized, the images do not fit, or there is nothing to quantize.
    """
    others = [choices.goal(name) for name in TARGETS if name not in (PORTABLE.name, choices.target)]
    clean, target = folder / "float.onnx", folder / "plan.json"
    with _blamed_on(source):
        graph, plan = import_plan(source)
        if plan.tensors:
            fix = f"give the float model, or use `{command('place')}`"
            raise UserError(f"{source} has Q/DQ nodes already", fix=fix)
        require_named(onnx_graph.view(graph), choices.named)
        made = calibrate(graph, list(images), choices.goal(), config, others)
        onnx_graph.save(graph, clean)
    write_plan(made.of_graph(clean), target)
    return clean, target


def apply_plan(source: Path, plan: Path, out: Path, choices: Choices, dot: Path | None = None) -> Applied:
    """Write the Q/DQ graph of a float ONNX file and its plan for a target; also writes OUT.placement.json.

    Raises:
        UserError: the plan belongs to another file.
    """
    goal = choices.goal()
    scales = read_plan(plan, source)
    with _blamed_on(source):
        applied = apply(onnx_graph.load(source), scales, goal)
        _write(applied, goal, out, dot)
    return applied


@contextmanager
def _blamed_on(source: Path) -> Iterator[None]:
    """Turn what ONNX's checker, its parsers and ours raise on a broken graph into a `UserError` that names the file.

    Errors that have a message already, and errors of the user's own rules, pass.
    """
    try:
        yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:
        if place_in_user_code(error) is not None:
            raise
        why = " ".join(str(error).split()) or type(error).__name__
        fix = "check it with onnx.checker.check_model; --debug shows where it fails"
        raise UserError(f"{source} is not a graph that can be placed", why=why, fix=fix) from error


def _write(applied: Applied, goal: TargetConfig, out: Path, dot: Path | None) -> None:
    if not applied.plan.quantized:
        whys = Counter(f"{skip.rule}: {skip.why}" for skip in applied.plan.skips).most_common(3)
        raise GateMissed(
            f"nothing would be quantized, so {out} is not written",
            why="; ".join(why for why, _ in whys) or "no rule found a tensor with a scale",
            fix="give --calibration, or fewer of --disable, --skip and --only",
        )
    write_verified(applied, goal.target, out)
    write_json(out.with_suffix(".placement.json"), applied.plan.to_json())
    if dot:
        write_text(dot, to_dot(applied.graph, applied.plan))
