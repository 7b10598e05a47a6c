"""The FP32 baseline of QAT: the network trained for the same extra steps by the same recipe, without quantizers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from core.config import Config
from core.files.paths import RunPaths
from core.stages import Stage
from qat.calibration.approaches import float_schedule
from qat.pipeline import run as pipeline
from qat.pipeline.contest import tuning_evaluator, tuning_score
from qat.processes.stages import on_all_processes
from qat.training.fine_tune import fine_tune
from qat.training.train_plan import TrainPlan


def ensure_trained_on(config: Config) -> Path:
    """FP32 weights of the run (see `qat.pipeline.run.ensure_fp32`), fine-tuned as `qat` says; returns their file."""
    pipeline.ensure_fp32(config)
    paths = RunPaths(config.run)
    target = paths.dir / "fp32_extra.pt"
    stage = Stage(
        name="fp32 extra",
        outputs=(target,),
        inputs=(paths.fp32_checkpoint,),
        params=pipeline.fine_tuning_params(config),
    )
    on_all_processes(stage, paths.manifest, lambda: _train(config, paths, target))
    return target


def _train(config: Config, paths: RunPaths, target: Path) -> None:
    plan = replace(TrainPlan.of_qat(config, paths), weights=target)
    model, teacher = pipeline.float_model(config, paths).to(plan.device), pipeline.float_model(config, paths)
    evaluator = tuning_evaluator(config, teacher)
    score = None if evaluator is None else partial(tuning_score, evaluator, model)
    fine_tune(model, teacher, float_schedule(model, config.qat), config, plan, score)
