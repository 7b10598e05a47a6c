"""Fine-tuning as `qat` in the config says: the training data, the recipe and the teacher around the training loop."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from core.config import Config
from qat.data.loader import TrainingBatches
from qat.tasks import dataset_of
from qat.training.distill import distilled
from qat.training.hooks import Hooks
from qat.training.model_loss import build_loss
from qat.training.recipe import Recipe
from qat.training.train import fit
from qat.training.train_plan import TrainPlan


def fine_tune(
    model: nn.Module,
    teacher: nn.Module,
    ranges: Hooks,
    config: Config,
    plan: TrainPlan,
    score: Callable[[], float] | None,
) -> None:
    """Train `model` in place; the recipe chooses the final weights, which are also written to `plan.weights`.

    Args:
        model: with quantizers, or in float.
        teacher: the FP32 network, for distillation.
        ranges: hooks that update quantizers and BatchNorm between steps (`qat.calibration.approaches`).
        score: scores the present `model`, higher is better; the best epoch by it is kept. None keeps the last one.
    """
    train = dataset_of(config, "train")
    recipe = Recipe(model, config.qat, ranges, score)
    with distilled(build_loss(config), model, teacher, config.qat.distill) as loss:
        fit(model, TrainingBatches.of_qat(train, config), loss, plan, recipe)
