"""A small network of two resolutions with synchronized BatchNorm, as segmentation networks are trained on several GPUs.

The shape is DDRNet's: a high and a low resolution that exchange features twice, and pooled context of several sizes at
the lowest resolution (Hong et al., "Deep Dual-resolution Networks for Real-time and Accurate Semantic Segmentation of
Road Scenes", 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HIGH, MIDDLE, LOW, CONTEXT = 16, 24, 32, 12  # channels


def conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution and synchronized BatchNorm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.SyncBatchNorm(outputs))


def bn_conv(inputs: int, outputs: int, kernel: int = 1) -> nn.Sequential:
    """Synchronized BatchNorm and ReLU in front of a convolution, where no convolution can take them."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(nn.SyncBatchNorm(inputs), nn.ReLU(inplace=True), conv)


class Basic(nn.Module):
    """Two 3×3 convolutions and the (projected) input; the caller adds the ReLU after the sum."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv_bn(inputs, outputs, 3, stride), conv_bn(outputs, outputs)
        self.shortcut = nn.Identity() if inputs == outputs else conv_bn(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(torch.relu(self.conv1(x))) + self.shortcut(x)


class Context(nn.Module):
    """Pools of two sizes and of the whole map, each added to the next finer one; all of them joined, plus the input."""

    def __init__(self, inputs: int, inner: int, outputs: int) -> None:
        super().__init__()
        self.pools = nn.ModuleList([nn.AvgPool2d(3, 1, 1), nn.AvgPool2d(5, 2, 2), nn.AdaptiveAvgPool2d(1)])
        self.scales = nn.ModuleList([bn_conv(inputs, inner) for _ in range(4)])
        self.mix = nn.ModuleList([bn_conv(inner, inner, 3) for _ in self.pools])
        self.join, self.shortcut = bn_conv(4 * inner, outputs), bn_conv(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        found = [self.scales[0](x)]
        for pool, scale, mix in zip(self.pools, self.scales[1:], self.mix, strict=True):
            up = F.interpolate(scale(pool(x)), size=x.shape[-2:], mode="bilinear", align_corners=False)
            found.append(mix(up + found[-1]))
        return self.join(torch.cat(found, 1)) + self.shortcut(x)


class DualResolution(nn.Module):
    """(N, 3, H, W) to (N, classes, H / 4, W / 4)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        relu = nn.ReLU(inplace=True)
        self.stem = nn.Sequential(conv_bn(3, HIGH, 3, 2), relu, conv_bn(HIGH, HIGH, 3, 2), relu)
        self.low1, self.low2 = Basic(HIGH, MIDDLE, 2), Basic(MIDDLE, LOW, 2)
        self.high1, self.high2 = Basic(HIGH, HIGH), Basic(HIGH, HIGH)
        self.to_low, self.to_high = conv_bn(HIGH, MIDDLE, 3, 2), conv_bn(MIDDLE, HIGH, 1)
        self.context = Context(LOW, CONTEXT, HIGH)
        self.head = nn.Sequential(
            bn_conv(HIGH, HIGH, 3), nn.SyncBatchNorm(HIGH), nn.ReLU(), nn.Conv2d(HIGH, classes, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        size = x.shape[-2:]
        low, high = torch.relu(self.low1(x)), torch.relu(self.high1(x))
        above = F.interpolate(self.to_high(low), size=size, mode="bilinear", align_corners=False)
        low, high = torch.relu(low + self.to_low(high)), torch.relu(high + above)
        low, high = torch.relu(self.low2(low)), self.high2(high)
        context = F.interpolate(self.context(low), size=size, mode="bilinear", align_corners=False)
        return self.head(high + context)
