"""Bring your own classifier: one class an image instead of one a pixel.

    root/{train,val}/CLASS/*.jpg or .png

The network ends in one value a class for the whole image, as N×classes×1×1, and the data gives a number where a label
map would be. Pixel accuracy is then the share of images that are right.

make bench DATA=root ARGS="--set run=my_classifier --set model.name=custom --set data.name=custom
--set model.factory=examples/my_classifier.py:build --set data.factory=examples/my_classifier.py:folders
--set model.num_classes=3 --set train.scale_min=1 --set train.scale_max=1"
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import nn


def build(num_classes: int) -> nn.Module:
    """Images (N, 3, H, W) to logits (N, classes, 1, 1)."""
    return nn.Sequential(
        *_conv(3, 16),
        *_conv(16, 32),
        *_conv(32, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, num_classes),
        nn.Unflatten(1, (num_classes, 1, 1)),
    )


def _conv(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
    return conv, nn.BatchNorm2d(outputs), nn.ReLU()


def folders(root: Path, split: str) -> Folders:
    """The data set of `split`, "train" or "val"."""
    return Folders(root / split)


class Folders:
    """Images in a folder for each class."""

    def __init__(self, folder: Path) -> None:
        self.class_names = tuple(sorted(path.name for path in folder.glob("*") if path.is_dir()))
        self.images = sorted(path for path in folder.glob("*/*") if path.suffix in (".jpg", ".png"))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        """RGB image uint8 (H, W, 3) and its class."""
        image = cv2.imread(str(self.images[index]), cv2.IMREAD_COLOR)
        if image is None:
            raise FileNotFoundError(self.images[index])
        return image[..., ::-1], self.class_names.index(self.images[index].parent.name)
