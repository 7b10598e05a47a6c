"""Bring your own classifier: a function that returns an `nn.Module`, and a folder of pictures for each class.

    root/{train,val}/CLASS/NAME.jpg or .png

make bench DATA=root ARGS="--set run=my_classifier --set task=classification --set model.name=custom
--set model.factory=examples/my_classifier.py:build --set model.num_classes=3 --set data.name=folders
--set train.scale_min=1 --set train.scale_max=1"
"""

from __future__ import annotations

from torch import nn


def build(num_classes: int) -> nn.Module:
    """Images (N, 3, H, W) to logits (N, classes)."""
    return nn.Sequential(
        *_conv(3, 16),
        *_conv(16, 32),
        *_conv(32, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, num_classes),
    )


def _conv(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
    return conv, nn.BatchNorm2d(outputs), nn.ReLU()
