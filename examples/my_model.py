"""Bring your own model: one function that returns an `nn.Module`.

make bench ARGS="--set run=my_model --set model.name=custom --set model.factory=examples/my_model.py:build"
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def build(num_classes: int) -> nn.Module:
    """A small U-Net: images (N, 3, H, W) to logits (N, classes, H/2, W/2); H and W multiples of 8."""
    return SmallUNet(num_classes)


class SmallUNet(nn.Module):
    """Three scales, skip connections by concatenation."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = _conv(3, 24, stride=2)
        self.down1 = nn.Sequential(_conv(24, 48, stride=2), _conv(48, 48))
        self.down2 = nn.Sequential(_conv(48, 96, stride=2), _conv(96, 96), _conv(96, 96))
        self.up1 = nn.ConvTranspose2d(96, 48, 2, stride=2)
        self.merge1 = _conv(96, 48)
        self.up2 = nn.ConvTranspose2d(48, 24, 2, stride=2)
        self.merge2 = _conv(48, 24)
        self.head = nn.Conv2d(24, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        half = self.stem(x)
        quarter = self.down1(half)
        eighth = self.down2(quarter)
        quarter = self.merge1(torch.cat([self.up1(eighth), quarter], 1))
        half = self.merge2(torch.cat([self.up2(quarter), half], 1))
        return self.head(half)


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())
