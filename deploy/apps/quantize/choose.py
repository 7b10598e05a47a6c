"""The calibrator whose ranges keep this network closest to FP32, on pictures that ranges were not measured on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import onnx_graphsurgeon as gs

from core.config import ActivationCalibrator, CalibrationConfig
from core.console import say, track
from deploy.apply.calibrate import Observed, complete
from deploy.apps.quantize.engines import Workshop, goal_of
from deploy.bundle.types import BuildOptions
from deploy.checks.fidelity import Fidelity, closeness, fidelity
from deploy.plan.plan import QuantizationPlan
from deploy.targets.base import Backend, Session, Tensors

METHODS: tuple[ActivationCalibrator, ...] = get_args(ActivationCalibrator)


@dataclass(frozen=True)
class Trial:
    """One calibrator's engine on the pictures to choose by; larger `closeness` is closer to FP32."""

    method: ActivationCalibrator
    closeness: float
    outputs: tuple[Fidelity, ...]

    def to_json(self) -> dict[str, Any]:
        """For the result file."""
        outputs = [each.to_json() for each in self.outputs]
        return {"method": self.method, "closeness": self.closeness, "outputs": outputs}


def plan_by(
    method: ActivationCalibrator, observed: Observed, graph: gs.Graph, images: Any, backends: Sequence[Backend]
) -> QuantizationPlan:
    """The plan of one calibrator, with the scales that single targets' rewrites need."""
    plan = observed.plan(CalibrationConfig(method=method))
    return complete(plan, graph, images, [goal_of(backend) for backend in backends])


def try_methods(
    plans: Mapping[ActivationCalibrator, QuantizationPlan],
    workshop: Workshop,
    backend: Backend,
    images: Sequence[Any],
    references: Sequence[Tensors],
) -> list[Trial]:
    """Build one engine a method in a folder that goes away again, and compare each with FP32; the closest first.

    Args:
        backend: runs here; its target stands for all.
        references: outputs of FP32 on `images`.
    """
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for method, plan in track(plans.items(), "calibrators", total=len(plans)):
            own = replace(workshop, folder=Path(scratch) / method, plan=plan)
            path, _ = own.place(backend)
            bundle = backend.build(path, own.folder / "engine", BuildOptions("int8", threads=workshop.options.threads))
            with backend.open(bundle) as session:
                outputs = tuple(fidelity(references, outputs_of(session, images)))
            found.append(Trial(method, closeness(outputs), outputs))
            say(f"calibrator {method}: {shown(outputs)}")
    return sorted(found, key=lambda trial: -trial.closeness)


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
