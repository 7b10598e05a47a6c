"""A small training run, for tests of the loop and for tests that need separate processes.

As a script: `python train_script.py SPEC`, JSON with `folder`, `plan` (changes to `make_plan`), `kill_at` (step or
null) and `exact_over_processes` (omit layers that several processes compute differently: batch norm, dropout, the OHEM
minimum).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from core.config import TrainConfig
from qat.training.hooks import NoHooks
from qat.training.pidnet_loss import PIDNetLoss
from qat.training.train import fit
from qat.training.train_plan import TrainPlan

CLASSES = 3


class Noise(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Twelve random images whose content depends on (epoch, index); every third has ignored rows."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(1000 * self.epoch + index)
        image = torch.randn(3, 16, 16, generator=generator)
        label = (image.abs().sum(0) * CLASSES / 6).long().clamp_max(CLASSES - 1)
        if index % 3 == 0:
            label[: 4 + index % 8] = 255
        return image, label, (torch.rand(16, 16, generator=generator) > 0.8).float()


class ThreeHeads(nn.Module):
    """A stem and the heads (P, final, D), at half resolution."""

    def __init__(self, batch_norm: bool, dropout: float) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(8) if batch_norm else nn.Identity()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), norm, nn.ReLU(), nn.Dropout(dropout))
        self.p, self.final, self.d = nn.Conv2d(8, CLASSES, 1), nn.Conv2d(8, CLASSES, 1), nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.stem(x)
        return self.p(x), self.final(x), self.d(x)


def make_model(batch_norm: bool = True, dropout: float = 0.2) -> ThreeHeads:
    """The same initial weights every time, such that some pixels are easy and some boundaries confident."""
    torch.manual_seed(0)
    model = ThreeHeads(batch_norm, dropout)
    with torch.no_grad():
        model.final.weight *= 10
        model.d.weight *= 10
        assert model.d.bias is not None
        model.d.bias += 1
    return model


def make_loss(min_kept: float = 0.125) -> PIDNetLoss:
    return PIDNetLoss(TrainConfig(epochs=1, crop_height_px=16, crop_width_px=16, ohem_min_kept=min_kept))


def make_plan(folder: Path, **changes: Any) -> TrainPlan:
    """Two epochs of six steps, a checkpoint every four steps."""
    values: dict[str, Any] = {
        "stage": "fp32",
        "epochs": 2,
        "batch_size": 2,
        "lr": 0.05,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "weights": folder / "model.pt",
        "metrics": folder / "metrics.jsonl",
        "precision": "fp32",
        "checkpoint_every_steps": 4,
        "workers": 0,
    }
    return TrainPlan(**{**values, **changes})


class KillSelf(NoHooks):
    """Dies without any chance to clean up."""

    def __init__(self, at_step: int | None) -> None:
        self.at_step = at_step

    def on_step_start(self, step: int, epoch: int) -> None:
        if step == self.at_step:
            os.kill(os.getpid(), signal.SIGKILL)


def main(spec: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    exact = spec["exact_over_processes"]
    model = make_model(batch_norm=not exact, dropout=0.0 if exact else 0.2)
    loss = make_loss(min_kept=0.0 if exact else 0.125)
    fit(model, Noise, loss, make_plan(Path(spec["folder"]), **spec["plan"]), KillSelf(spec["kill_at"]))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
