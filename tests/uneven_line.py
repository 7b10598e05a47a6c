"""Runs of a small depthwise network on generated streets: trained in seconds, with adjustable fragility."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from core.config import Config, load_config
from core.files.paths import RunPaths
from qat.pipeline import run as pipeline
from tests.nets.uneven import unevened

ROOT = Path(__file__).parents[1]
NETS = ROOT / "tests" / "nets"
CONFIG = ROOT / "configs" / "pidnet_s_streets.yaml"
BASE = [
    "run=case",
    "model.name=custom",
    f"model.factory={NETS / 'uneven.py'}:net",
    "data.height_px=48",
    "data.width_px=64",
    "data.train_images=160",
    "data.val_images=12",
    "train.batch_size=8",
    "train.optimizer=adamw",
    "train.crop_height_px=48",
    "train.crop_width_px=64",
    "train.precision=fp32",
    "train.scale_min=0.8",
    "train.scale_max=1.25",
    "qat.batch_size=8",
    "qat.calibration.images=16",
    "bench.warmup_ms=100",
    "deploy.backends=[openvino]",
]
SPREAD = 300.0  # spread of channels with which PTQ fails
REPAIRS = ["qat.epochs=6", "qat.optimizer=adamw", "qat.lr=1.0e-3"]


def trained_weights() -> dict[str, Tensor]:
    """FP32 weights, trained in the current folder."""
    pipeline.ensure_fp32(load_config(CONFIG, [*BASE, "run=fp32", "train.epochs=12", "train.lr=0.01"]))
    weights: dict[str, Tensor] = torch.load(RunPaths("fp32").fp32_checkpoint, weights_only=True)
    return weights


def options(weights: dict[str, Tensor], spread: float, *overrides: str) -> list[str]:
    """Overrides of `CONFIG` for a run from these weights, some channels `spread` times larger."""
    torch.save(unevened(weights, spread), "given.pt")
    return [*BASE, "model.checkpoint=given.pt", *overrides]


def config_of(weights: dict[str, Tensor], spread: float, *overrides: str) -> Config:
    """The config of such a run."""
    return load_config(CONFIG, options(weights, spread, *overrides))
