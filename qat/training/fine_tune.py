"""Fine-tuning as `qat` in the config says: the training data, the recipe and the teacher around the training loop."""

from __future__ import annotations

from functools import partial

from torch import nn

from core.config import Config
from qat.data import build_dataset
from qat.data.loader import TrainingBatches
from qat.evaluation.evaluate import miou_over_processes
from qat.training.distill import distilled
from qat.training.hooks import Hooks
from qat.training.losses import PIDNetLoss
from qat.training.recipe import Recipe
from qat.training.train import fit
from qat.training.train_plan import TrainPlan


def fine_tune(model: nn.Module, teacher: nn.Module, ranges: Hooks, config: Config, plan: TrainPlan) -> None:
    """Train `model` in place; it ends with the weights that the recipe chooses, which are those in `plan.weights`.

    Args:
        model: with quantizers, or in float.
        teacher: the FP32 network, for distillation.
        ranges: what moves quantizers and BatchNorm between steps (`qat.calibration.approaches`).
    """
    train, val = (build_dataset(config.data, split, seed=config.seed) for split in ("train", "val"))
    score = partial(miou_over_processes, model, val, config.data, config.model.num_classes)
    recipe = Recipe(model, config.qat, ranges, score)
    with distilled(PIDNetLoss(config.train), model, teacher, config.qat.distill) as loss:
        fit(model, TrainingBatches.of_qat(train, config), loss, plan, recipe)
