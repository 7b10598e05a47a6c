"""The way to quantize that keeps this network closest to FP32, on pictures that ranges were not measured on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from core.config import ActivationCalibrator, CalibrationConfig, WeightCalibrator
from core.console import say
from deploy.apply.calibrate import Observed, complete
from deploy.apps.quantize.engines import Workshop, goal_of
from deploy.bundle.types import BuildOptions
from deploy.checks.fidelity import Fidelity, closeness, fidelity
from deploy.targets.base import Backend, Session, Tensors

METHODS: tuple[ActivationCalibrator, ...] = get_args(ActivationCalibrator)


@dataclass(frozen=True)
class Recipe:
    """How ranges are found, and whether biases are corrected for what rounding does to means."""

    calibrator: ActivationCalibrator
    weights: WeightCalibrator = "max"
    bias_correction: bool = False

    def __str__(self) -> str:
        more = [f"weights by {self.weights}"] if self.weights != "max" else []
        return " + ".join([self.calibrator, *more, *(["bias correction"] if self.bias_correction else [])])


@dataclass(frozen=True)
class Trial:
    """One recipe's engine on the pictures to choose by; larger `closeness` is closer to FP32."""

    recipe: Recipe
    closeness: float
    outputs: tuple[Fidelity, ...]

    def to_json(self) -> dict[str, Any]:
        """For the result file."""
        outputs = [each.to_json() for each in self.outputs]
        return {"recipe": str(self.recipe), "closeness": self.closeness, "outputs": outputs}


@dataclass(frozen=True)
class Chooser:
    """Tries recipes on one network.

    Attributes:
        workshop: with the float graph; its plan is replaced by each recipe's.
        observed: what calibration found.
        images: those that ranges were measured on.
        backends: whose targets a plan must serve.
    """

    workshop: Workshop
    observed: Observed
    images: Sequence[Any]
    backends: Sequence[Backend]

    def following(self, recipe: Recipe) -> Workshop:
        """The workshop that quantizes by a recipe."""
        plan = self.observed.plan(CalibrationConfig(method=recipe.calibrator, weights=recipe.weights))
        goals = [goal_of(backend, self.workshop.skip) for backend in self.backends]
        plan = complete(plan, self.workshop.graph, self.images, goals)
        return replace(self.workshop, plan=plan, correct_on=self.images if recipe.bias_correction else None)

    def closest(self, backend: Backend, images: Sequence[Any], references: Sequence[Tensors]) -> list[Trial]:
        """All trials, the closest to FP32 first: every calibrator, then the best with more techniques, one at a time.

        Args:
            backend: runs here; its target stands for all.
            images: to choose by.
            references: outputs of FP32 on them.
        """
        trials = [self._try(Recipe(method), backend, images, references) for method in METHODS]
        for technique in ({"bias_correction": True}, {"weights": "mse"}):
            best = max(trials, key=lambda trial: trial.closeness)
            trials.append(self._try(replace(best.recipe, **technique), backend, images, references))
        return sorted(trials, key=lambda trial: -trial.closeness)

    def _try(self, recipe: Recipe, backend: Backend, images: Sequence[Any], references: Sequence[Tensors]) -> Trial:
        """Build and run one recipe in a folder that goes away again."""
        with tempfile.TemporaryDirectory() as scratch:
            own = replace(self.following(recipe), folder=Path(scratch))
            path, _ = own.place(backend)
            options = BuildOptions("int8", threads=own.options.threads)
            with backend.open(backend.build(path, own.folder / "engine", options)) as session:
                outputs = tuple(fidelity(references, outputs_of(session, images)))
        say(f"{recipe}: {shown(outputs)}")
        return Trial(recipe, closeness(outputs), outputs)


def outputs_of(session: Session, images: Sequence[Any]) -> Iterator[Tensors]:
    """The outputs of each image, one after the other."""
    (name,) = session.input_names
    return (session.run({name: image}) for image in images)


def shown(outputs: Sequence[Fidelity]) -> str:
    """The worst of each measure over the outputs, for people."""
    parts = [f"SNR {min(each.snr_db for each in outputs):.1f} dB"]
    for title, values in (
        ("agreement", [each.agreement for each in outputs if each.agreement is not None]),
        ("mask IoU", [each.iou for each in outputs if each.iou is not None]),
    ):
        if values:
            parts.insert(0, f"{title} {min(values):.2%}")
    return ", ".join(parts)
