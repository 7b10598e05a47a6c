"""Parts of the line as commands of their own: calibrate, then score or export any checkpoint with quantizers."""

from __future__ import annotations

from pathlib import Path

from torch import fx

from core.cli.naming import command
from core.config import Config, section_dict
from core.errors import UserError
from core.files.paths import RunPaths
from core.stages import Stage
from core.versions import source_hash
from deploy.pipeline import CODE
from qat.calibration.approaches import finish, prepare
from qat.device import device_for
from qat.evaluation.evaluate import evaluate
from qat.export import export_onnx
from qat.models.tensor_file import UNREADABLE, load_file, reason_of, save_weights
from qat.pipeline import run as pipeline
from qat.processes.stages import is_main, on_all_processes
from qat.tasks import dataset_of, task_of
from qat.tasks.check import require_classes
from qat.tasks.metrics import Score


def calibrate(config: Config) -> Path:
    """FP32 weights with the ranges that the run's approach has before training; returns the checkpoint's file.

    Raises:
        UserError: the approach is `direct`, which finds its ranges while training.
    """
    if config.qat.approach == "direct":
        raise UserError(
            "qat.approach: direct calibrates nothing",
            why="its ranges come from the first training steps",
            fix=f"set qat.approach to calibrate or stats_only, or train: `{command('train')}`",
        )
    pipeline.ensure_fp32(config)
    paths = RunPaths(config.run)
    stage = Stage(
        name="calibration",
        outputs=(paths.calibrated_checkpoint,),
        inputs=(paths.fp32_checkpoint, paths.float_onnx, *config.placement.custom),
        params={
            "approach": config.qat.approach,
            "calibration": section_dict(config.qat.calibration),
            "placement": section_dict(config.placement),
            "code": source_hash(*CODE),
            **pipeline.data_params(config, "train"),
        },
    )
    on_all_processes(stage, paths.manifest, lambda: _calibrate(config, paths))
    return paths.calibrated_checkpoint


def load_quantized(config: Config, checkpoint: Path) -> fx.GraphModule:
    """The run's network with quantizers and the weights, ranges and origins of `checkpoint`, ready for export.

    Raises:
        UserError: no such file, or one of another network or placement.
    """
    state = load_file(checkpoint, "checkpoint", f"make one with `{command('ranges')}` or `{command('train')}`")
    model = pipeline.quantized_model(config, RunPaths(config.run))
    try:
        model.load_state_dict(state)
    except UNREADABLE as error:
        raise UserError(
            f"{checkpoint} is not a checkpoint of this network with these quantizers",
            why=reason_of(error),
            fix="use the config and the placement that it was made with",
        ) from error
    finish(model)
    return model


def export(config: Config, checkpoint: Path, target: Path) -> None:
    """Write the Q/DQ ONNX of `checkpoint`; raises `UserError` for a range that is not finite or of unknown origin."""
    model = load_quantized(config, checkpoint)
    export_onnx(model, pipeline.example_of(config), target, config.deploy.opset)


def score(config: Config, checkpoint: Path | None) -> Score:
    """Of the validation split: the network with fake quantizers as `checkpoint` has them, None for FP32."""
    if checkpoint is None:
        model = pipeline.float_model(config, RunPaths(config.run))
    else:
        model = load_quantized(config, checkpoint)
    data = dataset_of(config, "val")
    require_classes(data, config.model.num_classes)
    return evaluate(
        model.to(device_for(config.device)), data, config.data, config.model.num_classes, task=task_of(config)
    )


def _calibrate(config: Config, paths: RunPaths) -> None:
    # `auto` imports no toolkit: ranges are the same with each
    model = pipeline.quantized_model(config, paths).to(device_for(config.device))
    train = dataset_of(config, "train")
    prepare(model, config.qat, pipeline.calibration_images(config, train))
    finish(model)
    if is_main():
        save_weights(paths.calibrated_checkpoint, model)
