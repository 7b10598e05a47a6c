"""Answers of a network on tuning images, run as a temporary engine."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import fx

from core.config import Config
from core.files.paths import RunPaths
from deploy.checks.write import write_applied
from deploy.pipeline import build_options, target_config
from deploy.plan.images import read_images
from deploy.targets.base import Backend
from qat.evaluation.evidence import Answers, Evaluator, predictor
from qat.export import save_planned


def engine_answers(
    model: fx.GraphModule, config: Config, paths: RunPaths, backend: Backend, evaluator: Evaluator
) -> Answers:
    """Answers of the INT8 engine that `make engine` would build from `model`, whose quantizers have ranges."""
    example = torch.zeros(1, 3, config.data.height_px, config.data.width_px)
    goal = target_config(config, backend.target)
    with tempfile.TemporaryDirectory(dir=paths.dir) as name:
        folder = Path(name)
        float_graph, plan, placed = (folder / part for part in ("float.onnx", "plan.json", "placed.onnx"))
        images, opset = read_images(paths.calibration), config.deploy.opset
        save_planned(model, example, opset, images, [goal], float_graph, plan)
        write_applied(float_graph, plan, goal, placed)
        bundle = backend.build(placed, folder / "engine", build_options(config, backend, "int8"))
        with backend.open(bundle) as session:
            return evaluator.answers(predictor(session))
