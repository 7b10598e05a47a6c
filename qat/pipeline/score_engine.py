"""A checkpoint's INT8 engine beside the FP32 engine of the same backend, scored on the validation split."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.cli.text_table import Table
from core.config import Config
from core.errors import UnsupportedEnvironment
from core.files.paths import RunPaths
from core.interval import Interval
from deploy.bundle.types import Precision
from deploy.checks.write import write_applied
from deploy.pipeline import build_options, target_config
from deploy.targets import get_backend, title_of
from deploy.targets.base import Backend
from qat.evaluation.evaluate import predictions
from qat.evaluation.evidence import predictor
from qat.export import save_planned
from qat.pipeline import run as pipeline
from qat.pipeline import single_steps
from qat.tasks import dataset_of, task_of
from qat.tasks.base import Answer, Evidence, change

CALIBRATION_IMAGES = 8  # for scales that only the backend's own rules need


@dataclass(frozen=True)
class Scored:
    """A network or an engine on the validation split.

    Attributes:
        values: of the task, percent, by name.
        change: points of the task's metric above the FP32 engine.
        agreement: percent of answers that are those of the FP32 engine.
    """

    name: str
    values: dict[str, Interval]
    change: Interval
    agreement: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = {name: value.to_json() for name, value in self.values.items()}
        return {**vars(self), "values": values, "change": self.change.to_json()}


def evaluate_engine(config: Config, checkpoint: Path, backend_name: str) -> list[Scored]:
    """Scores of the simulated network and of both engines, which are built into a folder that is thrown away.

    Args:
        checkpoint: with quantizers and their ranges.

    Raises:
        UserError: no such checkpoint or backend.
        UnsupportedEnvironment: the backend cannot build or run here.
    """
    backend = get_backend(backend_name)
    for precision in ("fp32", "int8"):
        blocked = backend.available(precision) or backend.runnable(precision)
        if blocked is not None:
            raise UnsupportedEnvironment(
                f"no {title_of(backend_name)} {precision} engine here", blocked.why, blocked.fix
            )
    model = single_steps.load_quantized(config, checkpoint)
    answers: dict[str, list[Answer]] = {}
    evidence: dict[str, Evidence] = {}
    task, data = task_of(config), dataset_of(config, "val")

    def score(name: str, predictor: Callable[[Tensor], Tensor]) -> None:
        found = list(predictions(predictor, data, config.data, task=task))
        answers[name] = [answer for _, answer in found]
        rows = [task.evidence(answer, sample.label, config.model.num_classes) for sample, answer in found]
        evidence[name] = np.stack(rows)

    score("PyTorch, simulated int8", model)
    with tempfile.TemporaryDirectory() as folder:
        for precision, source in _graphs(config, model, backend, Path(folder)).items():
            bundle = backend.build(source, Path(folder) / precision, build_options(config, backend, precision))
            with backend.open(bundle) as session:
                score(f"{title_of(backend_name)} {precision}", predictor(session))
    base = f"{title_of(backend_name)} fp32"
    rows = []
    for name, own in evidence.items():
        equal = [task.agreement(*pair) for pair in zip(answers[name], answers[base], strict=True)]
        share = 100 * sum(same for same, _ in equal) / sum(parts for _, parts in equal)
        values = dict(task.score(own, data.class_names).values)
        rows.append(Scored(name, values, change(task, own, evidence[base]), share))
    return rows


def table_of(rows: Sequence[Scored]) -> Table:
    """One line a network or engine."""
    columns = ["", *(f"{name} % [95 %]" for name in rows[0].values), "Δ", "agreement"]
    lines = [
        [
            row.name,
            *(value.text() for value in row.values.values()),
            row.change.text("{:+.2f}".format),
            f"{row.agreement:.2f} %",
        ]
        for row in rows
    ]
    return Table(columns, lines)


def _graphs(config: Config, model: torch.fx.GraphModule, backend: Backend, folder: Path) -> Mapping[Precision, Path]:
    """The float graph of the run, and the checkpoint's graph for the backend's target."""
    goal = target_config(config, backend.target)
    images = [image.numpy() for image in pipeline.calibration_images(config, dataset_of(config, "train"))]
    network, plan, placed = (folder / name for name in ("float.onnx", "plan.json", "int8.onnx"))
    example, opset = pipeline.example_of(config), config.deploy.opset
    save_planned(model, example, opset, images[:CALIBRATION_IMAGES], [goal], network, plan)
    write_applied(network, plan, goal, placed)
    return {"fp32": RunPaths(config.run).float_onnx, "int8": placed}
