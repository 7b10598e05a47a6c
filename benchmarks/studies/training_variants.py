"""Variants of one network for the cost of a training step: float, each approach, each toolkit, ModelOpt's own method.

All variants have the same network, loss, batch, optimizer and frozen BatchNorm statistics, and use the training loop's
own step. Images are noise: the cost of a step does not depend on their content.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.config import Config, QatConfig
from qat.calibration.approaches import RangeSchedule, prepare
from qat.device import device_for
from qat.models import build_model
from qat.quantization.insert import insert_configured
from qat.quantization.toolkits import quantizer_class
from qat.tracing import fx_graph
from qat.training.hooks import NoHooks
from qat.training.model_loss import build_loss
from qat.training.train import Item, Stepper
from qat.training.train_plan import Precision, TrainPlan

FLOAT, MODELOPT = "float", "modelopt mtq.quantize"
_FIXED: dict[str, Any] = {"approach": "calibrate", "learned_scales": False}
OURS: dict[str, dict[str, Any]] = {
    "fixed scales": _FIXED,
    "tracked ranges": {"approach": "stats_only", "learned_scales": False, "epochs": 1, "freeze_last_epochs": 0},
    "learned scales": {"approach": "calibrate", "learned_scales": True},
}
TOOLKITS: dict[str, dict[str, Any]] = {
    "toolkit modelopt": _FIXED | {"toolkit": "modelopt"},
    "toolkit pytorch-quantization": _FIXED | {"toolkit": "pytorch-quantization"},
}
NAMES = (FLOAT, *OURS, *TOOLKITS, MODELOPT)


@dataclass(frozen=True)
class Settings:
    """Settings of all variants: batch (N, 3, H, W), and computation in fp32 or in bf16 autocast."""

    config: Config
    batch: int
    height_px: int
    width_px: int
    precision: Precision


def missing(name: str) -> str:
    """The reason why the variant `name` cannot be trained here; empty if it can."""
    package = "modelopt" if name == MODELOPT else TOOLKITS.get(name, {}).get("toolkit")
    if package is None or find_spec(package.replace("-", "_")) is not None:
        return ""
    return f"{package} is not installed"


def variant(name: str, settings: Settings) -> Callable[[int], None]:
    """A function that runs training step `number`, counted from 0."""
    config = settings.config
    torch.manual_seed(config.seed)
    images = torch.randn(settings.batch, 3, settings.height_px, settings.width_px)
    batch = _batch(images, config.model.num_classes)
    plan = TrainPlan(
        stage="benchmark",
        epochs=1,
        batch_size=settings.batch,
        lr=config.qat.lr,
        momentum=config.qat.momentum,
        weight_decay=config.qat.weight_decay,
        weights=Path(),
        metrics=Path(),
        precision=settings.precision,
        device=device_for(config.device),
        seed=config.seed,
    )
    model, hooks = _model(name, config, images)
    stepper = Stepper(model, build_loss(config), plan)

    def step(number: int) -> None:
        model.train()
        hooks.on_step_start(number, 0)
        stepper.step(batch, number, plan.lr)

    return step


class _FrozenBatchNorm(NoHooks):
    """BatchNorm as in quantization-aware training, for models without this project's quantizers."""

    def __init__(self, model: nn.Module) -> None:
        self.norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]

    def on_step_start(self, step: int, epoch: int) -> None:
        """Normalise by running statistics."""
        for norm in self.norms:
            norm.eval()


def _model(name: str, config: Config, images: Tensor) -> tuple[nn.Module, NoHooks]:
    model: nn.Module = build_model(config.model, augment=False)
    if name == MODELOPT:
        model = _modelopt(model.eval(), images)
        return model, _FrozenBatchNorm(model)
    traced = fx_graph.trace(model, images[:1])
    if name == FLOAT:
        return traced, _FrozenBatchNorm(traced)
    return traced, _quantized(traced, config, config.qat.model_copy(update=(OURS | TOOLKITS)[name]), images)


def _quantized(model: torch.fx.GraphModule, config: Config, qat: QatConfig, images: Tensor) -> RangeSchedule:
    insert_configured(model, config.placement, quantizer_class(qat.toolkit))
    return prepare(model, qat, [images[:1]])


def _modelopt(model: nn.Module, images: Tensor) -> nn.Module:
    """The network quantized by ModelOpt itself, with its default INT8 configuration."""
    with warnings.catch_warnings(), redirect_stdout(sys.stderr):  # it prints to stdout, which is for --json
        warnings.simplefilter("ignore")  # warnings about packages for language models
        import modelopt.torch.quantization as mtq

        quantized: nn.Module = mtq.quantize(model, mtq.INT8_DEFAULT_CFG, lambda network: network(images[:1]))
    return quantized


def _batch(images: Tensor, classes: int) -> Item:
    count, _, height, width = images.shape
    return images, torch.randint(classes, (count, height, width)), (torch.rand(count, height, width) < 0.1).float()
