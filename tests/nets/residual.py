"""A residual network with all patterns of the placement rules, small enough for any test."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Conv-BN-ReLU, Conv-BN, plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(out + x)


class ResidualNet(nn.Module):
    """Stem, two blocks, a pre-activation BatchNorm, a head and a bilinear upsample to twice the feature size."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(Block(16), Block(16))
        self.pre = nn.BatchNorm2d(16)
        self.head = nn.Conv2d(16, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = torch.relu(self.pre(self.blocks(self.stem(x))))
        size = [features.shape[-2] * 2, features.shape[-1] * 2]
        return F.interpolate(self.head(features), size=size, mode="bilinear")


def residual_net(seed: int = 0, num_classes: int = 5) -> ResidualNet:
    """A `ResidualNet` with random weights and random, non-trivial BatchNorm statistics."""
    torch.manual_seed(seed)
    model = ResidualNet(num_classes)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.eval()
