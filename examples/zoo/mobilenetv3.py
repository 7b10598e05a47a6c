"""MobileNetV3-Small with the segmentation head LR-ASPP: HardSwish, squeeze-and-excitation and depthwise convolutions.

Source: Howard et al., "Searching for MobileNetV3", ICCV 2019, tables 2 and 7. The last stage keeps the resolution of
the one before it, by dilation, as there.

python benchmarks/run.py --config examples/zoo/mobilenetv3.yaml
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD = 128
# kernel, expanded channels, output channels, squeeze-and-excitation, HardSwish, stride, dilation
BLOCKS = (
    (3, 16, 16, True, False, 2, 1),
    (3, 72, 24, False, False, 2, 1),
    (3, 88, 24, False, False, 1, 1),
    (5, 96, 40, True, True, 2, 1),
    (5, 240, 40, True, True, 1, 1),
    (5, 240, 40, True, True, 1, 1),
    (5, 120, 48, True, True, 1, 1),
    (5, 144, 48, True, True, 1, 1),
    (5, 288, 96, True, True, 1, 2),
    (5, 576, 96, True, True, 1, 2),
    (5, 576, 96, True, True, 1, 2),
)
FINE = 3  # blocks before the features at an eighth of the size, which the head reads, too


def build(num_classes: int) -> nn.Module:
    """Images (N, 3, H, W) to logits (N, classes, H/8, W/8)."""
    return MobileNetV3(num_classes)


class MobileNetV3(nn.Module):
    """Inverted residuals, then a gated 1×1 convolution beside the finer features."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = _conv(3, 16, 3, stride=2, act=nn.Hardswish)
        widths = [16, *(block[2] for block in BLOCKS)]
        self.blocks = nn.ModuleList(
            InvertedResidual(width, *block) for width, block in zip(widths[:-1], BLOCKS, strict=True)
        )
        self.last = _conv(widths[-1], 576, 1, act=nn.Hardswish)
        self.project = _conv(576, HEAD, 1, act=nn.ReLU)
        self.gate = nn.Conv2d(576, HEAD, 1, bias=False)
        self.low, self.high = nn.Conv2d(widths[FINE], num_classes, 1), nn.Conv2d(HEAD, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks[:FINE]:
            x = block(x)
        fine = x
        for block in self.blocks[FINE:]:
            x = block(x)
        x = self.last(x)
        x = self.project(x) * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)))
        x = F.interpolate(x, size=fine.shape[2:], mode="bilinear", align_corners=False)
        return self.high(x) + self.low(fine)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, gate, project; beside a shortcut where the shape stays."""

    def __init__(
        self, inputs: int, kernel: int, hidden: int, outputs: int, gated: bool, swish: bool, stride: int, dilation: int
    ) -> None:
        super().__init__()
        act = nn.Hardswish if swish else nn.ReLU
        self.expand = _conv(inputs, hidden, 1, act=act) if hidden != inputs else nn.Identity()
        self.depthwise = _conv(hidden, hidden, kernel, stride, hidden, dilation, act)
        self.gate = SqueezeExcite(hidden) if gated else nn.Identity()
        self.project = _conv(hidden, outputs, 1)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        result = self.project(self.gate(self.depthwise(self.expand(x))))
        return x + result if self.shortcut else result


class SqueezeExcite(nn.Module):
    """Each channel times a share of itself, read off the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(8, (channels // 4 + 4) // 8 * 8)
        self.reduce, self.expand = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.expand(F.relu(self.reduce(F.adaptive_avg_pool2d(x, 1)))))


def _conv(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    act: type[nn.Module] | None = None,
) -> nn.Sequential:
    padding = dilation * (kernel - 1) // 2
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *([act()] if act else []))
