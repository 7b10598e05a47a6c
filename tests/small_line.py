"""A run small enough for tests of the whole QAT pipeline: CamVid's layout with generated pictures, and a small
network."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from core.config import Config, load_config
from tests.nets.residual import ResidualNet

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "pidnet_s_streets.yaml"
FACTORY = (
    "from tests.nets.residual import ResidualNet\n\n\ndef net(num_classes):\n    return ResidualNet(num_classes)\n"
)
SETTINGS = [
    "run=small",
    "model.name=custom",
    "model.num_classes=11",
    "data.name=camvid",
    "data.height_px=32",
    "data.width_px=48",
    "data.train_images=null",
    "data.val_images=null",
    "train.epochs=0",
    "train.crop_height_px=32",
    "train.crop_width_px=48",
    "train.precision=fp32",
    "qat.epochs=2",
    "qat.batch_size=2",
    "qat.observe_steps=2",
    "qat.calibration.images=4",
]


def settings(folder: Path) -> list[str]:
    """Overrides of `CONFIG` for a run in `folder`, whose pictures, factory and FP32 weights this writes."""
    for split, count in (("train", 11), ("val", 3)):  # 4 images of train are for tuning, and one is the gap
        _pictures(folder / "data", split, count)
    (folder / "net.py").write_text(FACTORY, encoding="utf-8")
    torch.manual_seed(0)
    torch.save(ResidualNet(11).state_dict(), folder / "given.pt")
    own = [f"model.factory={folder}/net.py:net", f"model.checkpoint={folder}/given.pt", f"data.root={folder}/data"]
    return [*SETTINGS, *own]


def small_config(folder: Path, *overrides: str) -> Config:
    """The config of a run in `folder`."""
    return load_config(CONFIG, [*settings(folder), *overrides])


def _pictures(root: Path, split: str, count: int) -> None:
    generator = np.random.default_rng(len(split))
    for kind in (split, f"{split}annot"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        label = np.kron(generator.integers(0, 11, (4, 6)), np.ones((8, 8))).astype(np.uint8)
        noise = generator.integers(0, 20, (32, 48, 3))
        image = (label[..., None] * np.array([20, 10, 5]) + noise).astype(np.uint8)
        cv2.imwrite(str(root / split / f"{split}{index}.png"), image)
        cv2.imwrite(str(root / f"{split}annot" / f"{split}{index}.png"), label)
