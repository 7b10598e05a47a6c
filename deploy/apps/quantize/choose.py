"""The way to quantize that keeps this network closest to FP32, on pictures that ranges were not measured on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import onnx_graphsurgeon as gs

from core.config import ActivationCalibrator, CalibrationConfig
from core.console import say
from deploy.apply.bias_correction import Errors, mean_errors
from deploy.apply.calibrate import Observed, complete, observe
from deploy.apply.equalize import channel_ranges, depthwise_inputs, equalized
from deploy.apps.quantize.engines import Workshop
from deploy.apps.quantize.pictures import thinned
from deploy.bundle.types import BuildOptions
from deploy.checks.fidelity import Fidelity, closeness, fidelity
from deploy.graph.value_range import UNKNOWN, floor
from deploy.plan.plan import SkippedNode
from deploy.targets import get_backend
from deploy.targets.base import Backend, Session, Tensors

CORRECTED_ON = 32  # pictures: means settle sooner than ranges
CLEARLY_IOU, CLEARLY_DB = 0.005, 0.5
METHODS: tuple[ActivationCalibrator, ...] = get_args(ActivationCalibrator)


@dataclass(frozen=True)
class Recipe:
    """How ranges are found, and what is done besides.

    Attributes:
        uint8: all activations in uint8, where the target would have signed ones in int8.
        floors: uint8 from the least value that a tensor can have (see `deploy.apply.number_formats`).
        equalized: depthwise inputs get one range for all channels (see `deploy.apply.equalize`).
        bias_correction: see `deploy.apply.bias_correction`.
        in_float: nodes that stay in float by measurement.
    """

    calibrator: ActivationCalibrator
    uint8: bool = False
    floors: bool = False
    equalized: bool = False
    bias_correction: bool = False
    in_float: tuple[SkippedNode, ...] = ()

    def __str__(self) -> str:
        named: dict[str, object] = {
            "uint8": self.uint8,
            "floors": self.floors,
            "equalized": self.equalized,
            "bias correction": self.bias_correction,
            f"{len(self.in_float)} in float": self.in_float,
        }
        return " + ".join([self.calibrator, *(name for name, used in named.items() if used)])


@dataclass(frozen=True)
class Trial:
    """One recipe's engine on the pictures to choose by; larger `closeness` is closer to FP32."""

    recipe: Recipe
    closeness: float
    outputs: tuple[Fidelity, ...]

    def gains(self, other: Trial, clearly: bool) -> bool:
        """Return True if this is closer to FP32 than `other`; `clearly`: by a gain that is worth time in the engine."""
        has_masks = all(each.iou is not None for each in self.outputs)
        least = (CLEARLY_IOU if has_masks else CLEARLY_DB) if clearly else 0.0
        return self.closeness > other.closeness + least

    def to_json(self) -> dict[str, Any]:
        """For the result file."""
        outputs = [each.to_json() for each in self.outputs]
        return {"recipe": str(self.recipe), "closeness": self.closeness, "outputs": outputs}


class Chooser:
    """Tries recipes on one network.

    Args:
        workshop: with the float graph; its plan is replaced by each recipe's.
        images: to measure ranges on.
        backends: whose targets a plan must serve.
    """

    def __init__(self, workshop: Workshop, images: Sequence[Any], backends: Sequence[Backend]) -> None:
        self._workshop, self._images, self._backends = workshop, images, backends
        self._observe, self._errors = cache(self._observed), cache(self._mean_errors)

    def following(self, recipe: Recipe) -> Workshop:
        """The workshop that quantizes by a recipe."""
        graph, observed = self._observe(recipe.equalized)
        own = replace(self._workshop, graph=graph, uint8=recipe.uint8, floors=recipe.floors)
        plan = observed.plan(CalibrationConfig(method=recipe.calibrator))
        plan = complete(plan, graph, self._images, [own.goal(backend) for backend in self._backends])
        plain = replace(recipe, in_float=())
        errors = (lambda backend: self._errors(plain, backend.name)) if recipe.bias_correction else None
        return replace(own, plan=plan.in_float(recipe.in_float), errors=errors)

    def _mean_errors(self, recipe: Recipe, backend: str) -> Errors:
        """The errors of a recipe without floats: each operator's error does not depend on the others."""
        own = self.following(replace(recipe, bias_correction=False))
        return mean_errors(own.graph, own.decided(get_backend(backend)), thinned(self._images, CORRECTED_ON))

    def closest(self, backend: Backend, images: Sequence[Any], references: Sequence[Tensors]) -> list[Trial]:
        """All trials, the closest to FP32 first: every calibrator, then the best with one more technique at a time.

        A technique that costs time must gain `CLEARLY_IOU`, or `CLEARLY_DB` without masks.

        Args:
            backend: runs here; its target stands for all.
            images: to choose by.
            references: outputs of FP32 on them.
        """

        def tried(recipe: Recipe) -> Trial:
            trials.append(self.trial(recipe, backend, images, references))
            return trials[-1]

        trials: list[Trial] = []
        best = max([tried(Recipe(method)) for method in METHODS], key=lambda trial: trial.closeness)
        formats = self._workshop.goal(backend).target.unsigned
        if formats == "non-negative":
            other = tried(replace(best.recipe, uint8=True))
            if other.gains(best, clearly=True):  # the calibrators were compared where nothing worked
                again = [tried(Recipe(method, uint8=True)) for method in METHODS if method != best.recipe.calibrator]
                best = max([other, *again], key=lambda trial: trial.closeness)
        if formats != "never" and has_floors(self._workshop.graph):
            other = tried(replace(best.recipe, floors=True))
            best = other if other.gains(best, clearly=False) else best
        if depthwise_inputs(self._workshop.graph):
            other = tried(replace(best.recipe, equalized=True))
            best = other if other.gains(best, clearly=True) else best
        other = tried(replace(best.recipe, bias_correction=True))
        best = other if other.gains(best, clearly=False) else best
        others = [trial for trial in trials if trial is not best]
        return [best, *sorted(others, key=lambda trial: -trial.closeness)]

    def _observed(self, equal: bool) -> tuple[gs.Graph, Observed]:
        graph = self._workshop.graph
        if equal:
            some = thinned(self._images, CORRECTED_ON)
            graph = equalized(graph, channel_ranges(graph, depthwise_inputs(graph), some))
        goals = [self._workshop.goal(backend) for backend in self._backends]
        return graph, observe(graph, self._images, goals)

    def trial(self, recipe: Recipe, backend: Backend, images: Sequence[Any], references: Sequence[Tensors]) -> Trial:
        """Build and run one recipe in a folder that goes away again."""
        with tempfile.TemporaryDirectory() as scratch:
            own = replace(self.following(recipe), folder=Path(scratch))
            path, _ = own.place(backend)
            options = BuildOptions("int8", threads=own.options.threads)
            with backend.open(backend.build(path, own.folder / "engine", options)) as session:
                outputs = tuple(fidelity(references, outputs_of(session, images)))
        say(f"{recipe}: {shown(outputs)}")
        return Trial(recipe, closeness(outputs), outputs)


def has_floors(graph: gs.Graph) -> bool:
    """Return True if a tensor has a known least value below zero, as HardSwish's result has."""
    return any(UNKNOWN < floor(tensor) < 0 for node in graph.nodes for tensor in node.outputs)


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
