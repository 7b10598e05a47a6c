"""From config to a trained Q/DQ ONNX: FP32 weights, quantizers, ranges, fine-tuning, export."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
import yaml
from torch import Tensor, fx

from core.config import Config, section_dict
from core.files.artifacts import discard_unfinished, write_text
from core.files.paths import RunPaths
from core.run_lock import claim
from core.stages import Stage
from core.versions import source_hash
from deploy.apply.target import PORTABLE
from deploy.bundle.meaning import write_classes
from deploy.graph import onnx_graph
from deploy.pipeline import AS_TRAINED, CODE, ensure_portable, target_config
from deploy.plan.images import read_images
from deploy.plan.picture import Picture
from deploy.targets import TARGETS
from qat.calibration.approaches import finish, prepare
from qat.calibration.mean_correction import correct_means
from qat.data import LabelledImages
from qat.data.loader import TrainingBatches
from qat.data.transform import normalize
from qat.device import device_for, process_on
from qat.evaluation.simulate import save_calibration, save_parity, save_predictions
from qat.export import export_onnx, save_planned
from qat.models import build_model
from qat.models.checkpoint import load_state
from qat.models.tensor_file import save_weights
from qat.pipeline.contest import Contest, record, tuning_evaluator, tuning_score, without_contest
from qat.processes.stages import is_main, on_all_processes
from qat.quantization.insert import insert_configured
from qat.quantization.pixels import read_pixels
from qat.quantization.toolkits import quantizer_class, with_toolkit_chosen
from qat.tasks import dataset_of, task_of, tuning_of
from qat.tasks.check import require_classes, require_readable
from qat.tracing import fx_graph
from qat.training.fine_tune import fine_tune
from qat.training.model_loss import build_loss, loss_files
from qat.training.train import fit
from qat.training.train_plan import TrainPlan

Split = Literal["train", "val"]
FP32_STAGES = ("fp32 weights", "fp32 export")
STAGES = (*FP32_STAGES, "qat", "apply portable")


def ensure(config: Config) -> None:
    """Make `float.onnx`, `trained.onnx` and `plan.json` of the run, re-running only the stages whose inputs changed."""
    ensure_fp32(config)
    ensure_quantized(config)


def ensure_fp32(config: Config) -> None:
    """FP32 weights, trained or taken from `model.checkpoint`, and their ONNX export."""
    paths = RunPaths(config.run)
    process_on(device_for(config.device))
    if is_main():
        claim(paths.dir)
        for path in (paths.config, paths.classes, paths.metrics):
            discard_unfinished(path)
        write_text(paths.config, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    given = config.model.checkpoint
    if not given:
        require_classes(dataset_of(config, "train"), config.model.num_classes)
    trained = {} if given else {"train": section_dict(config.train), **data_params(config, "train")}
    weights = Stage(
        name="fp32 weights",
        outputs=(paths.fp32_checkpoint,),
        inputs=(given,) if given else loss_files(config),
        params={"model": _model(config), **trained},
    )
    on_all_processes(weights, paths.manifest, lambda: _fp32_weights(config, paths))
    exported = Stage(
        name="fp32 export",
        outputs=(paths.float_onnx,),
        inputs=(paths.fp32_checkpoint,),
        params={"model": _model(config), "input": list(example_of(config).shape), "opset": config.deploy.opset},
    )
    on_all_processes(exported, paths.manifest, lambda: _export(config, float_model(config, paths), paths.float_onnx))


def ensure_quantized(config: Config) -> None:
    """The fine-tuned fake-quantized model, its Q/DQ ONNX and its predictions on the validation split."""
    paths = RunPaths(config.run)
    dataset = dataset_of(config, "val")
    require_classes(dataset, config.model.num_classes)
    if is_main():
        write_classes(paths.classes, dataset.class_names, dataset.colors)
    stage = Stage(
        name="qat",
        outputs=(
            paths.qat_checkpoint,
            paths.trained_onnx,
            paths.plan,
            paths.simulated,
            paths.parity,
            paths.calibration,
            paths.simulated_score,
            paths.decision,
        ),
        inputs=(paths.fp32_checkpoint, paths.float_onnx, *config.placement.custom, *loss_files(config)),
        params={
            "placement": section_dict(config.placement),
            "code": source_hash(*CODE),
            "opset": config.deploy.opset,
            "pixels": config.deploy.pixels,
            **fine_tuning_params(config),
        },
        editable=(paths.plan,),
    )
    on_all_processes(stage, paths.manifest, lambda: _quantize(config, paths))
    if is_main():
        ensure_portable(paths)


def fine_tuning_params(config: Config) -> dict[str, object]:
    """The settings that the weights after fine-tuning depend on, besides placement and the weights before."""
    return {
        "model": _model(config),
        "qat": section_dict(config.qat),
        "loss": {key: getattr(config.train, key) for key in ("ohem_threshold", "ohem_min_kept")},
        **data_params(config, "train", "val"),
    }


def float_model(config: Config, paths: RunPaths) -> fx.GraphModule:
    """The traced FP32 deployment network with the run's weights."""
    model = build_model(config.model, augment=False)
    load_state(model, paths.fp32_checkpoint)
    traced = fx_graph.trace(model, example_of(config), output=config.model.output)
    task_of(config).require_logits(fx_graph.output_shape(traced), config.model.num_classes)
    return traced


def quantized_model(config: Config, paths: RunPaths) -> fx.GraphModule:
    """The network with quantizers where the rules put them, FP32 weights and no ranges yet."""
    model, graph = float_model(config, paths), onnx_graph.load(paths.float_onnx)
    where = insert_configured(model, config.placement, quantizer_class(config.qat.toolkit), graph=graph)
    if config.deploy.pixels:
        read_pixels(model, where, graph, Picture(mean=config.data.mean, std=config.data.std))
    return model


def _fp32_weights(config: Config, paths: RunPaths) -> None:
    torch.manual_seed(config.seed)
    model = build_model(config.model, augment=config.model.checkpoint is None)
    if config.model.checkpoint:
        load_state(model, config.model.checkpoint)
        if is_main():
            save_weights(paths.fp32_checkpoint, model)
        return
    _require_data(config, trains=True)
    batches = TrainingBatches.of_fp32(dataset_of(config, "train"), config)
    fit(model, batches, build_loss(config), TrainPlan.of_fp32(config, paths))


def _quantize(config: Config, paths: RunPaths) -> None:
    config = with_toolkit_chosen(config)
    _require_data(config, trains=config.qat.epochs > 0)
    train = dataset_of(config, "train")
    model = quantized_model(config, paths).to(device_for(config.device))
    teacher = float_model(config, paths)
    evaluator = tuning_evaluator(config, teacher)
    ranges = prepare(model, config.qat, calibration_images(config, train))
    plan = replace(TrainPlan.of_qat(config, paths), keeps_checkpoint=True)
    contest = None
    if evaluator is not None and config.qat.keep == "best":
        contest = Contest(evaluator, _before_training(model, config, paths), config, paths)
    if config.qat.correct_means and config.qat.epochs:
        correct_means(model, teacher, calibration_images(config, train))
    score = None if evaluator is None else partial(tuning_score, evaluator, model)
    fine_tune(model, teacher, ranges, config, plan, score)
    finish(model)
    decision = contest.decide(model) if contest else without_contest(config.qat)
    if contest and decision.ships == "ptq":
        if is_main():
            save_weights(paths.refused_checkpoint, model)
        model = contest.ptq
    if not is_main():
        return
    record(decision, paths, plan.stage)
    save_predictions(model, config, paths)
    save_calibration(config, paths)
    save_network(model, config, paths)
    plan.resume.unlink(missing_ok=True)


def _before_training(model: fx.GraphModule, config: Config, paths: RunPaths) -> fx.GraphModule:
    """PTQ of the run's network: `model` as it is where its ranges are calibrated, else one that is calibrated now."""
    if config.qat.approach != "calibrate":
        ptq = quantized_model(config, paths).to(device_for(config.device))
        plain = config.qat.model_copy(update={"approach": "calibrate", "epochs": 0})
        prepare(ptq, plain, calibration_images(config, dataset_of(config, "train")))
    else:
        ptq = copy.deepcopy(model)
    finish(ptq)
    return ptq


def _require_data(config: Config, *, trains: bool) -> None:
    """Read the validation images, and those of training if there is one, before hours are spent; `UserError` if bad."""
    if not is_main() or config.data.name == "streets":  # made up on demand: there are no files that could be bad
        return
    if trains:
        require_readable(dataset_of(config, "train"), "train", task_of(config), labels=config.data.train_masks)
    require_readable(dataset_of(config, "val"), "val", task_of(config))


def _export(config: Config, model: fx.GraphModule, target: Path) -> None:
    if is_main():
        export_onnx(model, example_of(config), target, config.deploy.opset)


def save_network(model: fx.GraphModule, config: Config, paths: RunPaths) -> None:
    """Write the sources of engines, besides images for scales: checkpoint, float graph, plan, and images for parity."""
    save_weights(paths.qat_checkpoint, model)
    save_parity(model, config, paths)
    others = [target_config(config, name) for name in TARGETS if name not in (PORTABLE.name, *AS_TRAINED)]
    images, opset = read_images(paths.calibration), config.deploy.opset
    save_planned(model, example_of(config), opset, images, others, paths.trained_onnx, paths.plan)


def calibration_images(config: Config, train: LabelledImages) -> Iterator[Tensor]:
    """Evenly spaced images of the training split, one a batch, as the engine will see them."""
    count = min(config.qat.calibration.images, len(train))
    for index in range(count):
        image = train[index * len(train) // count].image
        yield torch.from_numpy(normalize(image, config.data)).unsqueeze(0)


def example_of(config: Config) -> Tensor:
    """One blank image of the size that the engine sees."""
    return torch.zeros(1, 3, config.data.height_px, config.data.width_px)


def _model(config: Config) -> dict[str, object]:
    return config.model.model_dump(mode="json", exclude={"checkpoint"})


def data_params(config: Config, *splits: Split) -> dict[str, object]:
    """The parameters of a stage that reads `splits`."""
    prints = {split: dataset_of(config, split).fingerprint() for split in splits}
    if "train" in splits:
        prints["tuning"] = tuning_of(config).dataset.fingerprint()  # type: ignore[index]  # not a split of `Split`
    return {"data": section_dict(config.data), "seed": config.seed, "images": prints}
