"""A checkpoint's INT8 engine beside the FP32 engine of the same backend, scored on the validation split."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.config import Config
from core.errors import UnsupportedEnvironment
from core.paths import RunPaths
from deploy.bundle.types import Precision
from deploy.checks.write import write_applied
from deploy.pipeline import build_options, target_config
from deploy.targets import get_backend, title_of
from deploy.targets.base import Backend
from qat import pipeline, single_steps
from qat.evaluation.evaluate import predictions
from qat.evaluation.evidence import predictor
from qat.export import save_planned
from qat.tasks import dataset_of, task_of
from qat.tasks.base import Answer, Evidence, change

CALIBRATION_IMAGES = 8  # for scales that only the backend's own rules need


def evaluate_engine(config: Config, checkpoint: Path, backend_name: str) -> list[str]:
    """Lines of a table: the simulated network, and both engines, built into a folder that is thrown away.

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
    lines = [
        ["", *(f"{name} % [95 %]" for name in task.values(evidence[base], np.ones((1, len(data))))), "Δ", "agreement"]
    ]
    for name, own in evidence.items():
        values = [found.text() for found in task.score(own, data.class_names).values.values()]
        equal = [task.agreement(*pair) for pair in zip(answers[name], answers[base], strict=True)]
        share = 100 * sum(same for same, _ in equal) / sum(parts for _, parts in equal)
        lines.append([name, *values, change(task, own, evidence[base]).text("{:+.2f}".format), f"{share:.2f} %"])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _graphs(config: Config, model: torch.fx.GraphModule, backend: Backend, folder: Path) -> Mapping[Precision, Path]:
    """The float graph of the run, and the checkpoint's graph as the backend wants it."""
    goal = target_config(config, backend.target)
    images = [image.numpy() for image in pipeline.calibration_images(config, dataset_of(config, "train"))]
    network, plan, placed = (folder / name for name in ("float.onnx", "plan.json", "int8.onnx"))
    example, opset = pipeline.example_of(config), config.deploy.opset
    save_planned(model, example, opset, images[:CALIBRATION_IMAGES], [goal], network, plan)
    write_applied(network, plan, goal, placed)
    return {"fp32": RunPaths(config.run).float_onnx, "int8": placed}
