"""A small fine-tuning with every part of a recipe, for tests in this process and for tests that kill a child process.

As a script: `python qat_script.py SPEC`, JSON with `folder`, `qat` (changes to `SETTINGS`) and `kill_at` (a step or
null).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor, fx
from torch.utils.data import Dataset

from core.config import QatConfig, TrainConfig
from qat.calibration.approaches import prepare
from qat.quantization.toolkits import AUTO, first_importable, quantizer_class
from qat.tracing.inputs import device_of
from qat.training.distill import distilled
from qat.training.pidnet_loss import PIDNetLoss
from qat.training.recipe import Recipe
from qat.training.train import fit
from qat.training.train_plan import TrainPlan
from tests.nets.residual_graph import quantized_residual, traced_residual

STEPS_PER_EPOCH = 3
SETTINGS: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 2,
    "lr": 0.02,
    "learned_scales": True,
    "warmup_steps": 2,
    "clip_norm": 1.0,
    "batch_norm_steps": 4,
    "ema_decay": 0.8,
    "early_stop_epochs": 2,
    "distill": {"weight": 1.0, "temperature": 2.0, "features": ["stem"], "feature_weight": 0.5},
    "observe_steps": 4,
}


class Images(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Six images of five classes that depend on (epoch, index)."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 2 * STEPS_PER_EPOCH

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(100 * self.epoch + index)
        image = 2 * torch.randn(3, 16, 16, generator=generator)
        return image, (image[0].abs() * 2).long().clamp_max(4), torch.zeros(16, 16)


class Interruptible(Recipe):
    """The recipe, which dies before step `kill_at` without any chance to clean up, or raises before `stop_at`."""

    kill_at: int | None = None
    stop_at: int | None = None

    def on_step_start(self, step: int, epoch: int) -> None:
        if step == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if step == self.stop_at:
            raise InterruptedError
        super().on_step_start(step, epoch)


class Run:
    """A fine-tuning in `folder` that can be started as often as it takes."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.config = QatConfig(**{**SETTINGS, **changes})
        self.teacher = traced_residual(16)
        toolkit = first_importable()[0] if self.config.toolkit == AUTO else self.config.toolkit
        self.model: fx.GraphModule = quantized_residual(16, quantizer_class(toolkit))
        section = self.config
        self.plan = TrainPlan(
            stage="qat",
            epochs=section.epochs,
            batch_size=section.batch_size,
            lr=section.lr,
            momentum=section.momentum,
            weight_decay=section.weight_decay,
            weights=folder / "qat.pt",
            metrics=folder / "metrics.jsonl",
            schedule="cosine",
            warmup_steps=section.warmup_steps,
            clip_norm=section.clip_norm,
            precision="fp32",
            checkpoint_every_steps=2,
        )

    def score(self) -> float:
        """The model's closeness to the teacher on an image that it does not train on."""
        image = Images(77)[0][0].unsqueeze(0)
        training = {module: module.training for module in self.model.modules()}
        with torch.no_grad():
            ours = self.model.eval()(image.to(device_of(self.model))).cpu()
            found = -float((ours - self.teacher(image)).square().mean())
        for module, mode in training.items():
            module.training = mode
        return found

    def start(self, kill_at: int | None = None, stop_at: int | None = None) -> Interruptible:
        """Train, from the last checkpoint where there is one."""
        ranges = prepare(self.model, self.config, [Images(0)[index][0].unsqueeze(0) for index in range(4)])
        score = None if self.config.early_stop_epochs is None else self.score
        recipe = Interruptible(self.model, self.config, ranges, score)
        recipe.kill_at, recipe.stop_at = kill_at, stop_at
        own = PIDNetLoss(TrainConfig(epochs=1, crop_height_px=16, crop_width_px=16))
        with distilled(own, self.model, self.teacher, self.config.distill) as loss:
            fit(self.model, Images, loss, self.plan, recipe)
        return recipe


def main(spec: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    PartialState(cpu=True)  # before calibration, which processes share
    Run(Path(spec["folder"]), **spec["qat"]).start(kill_at=spec["kill_at"])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
