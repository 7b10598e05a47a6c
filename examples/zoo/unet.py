"""U-Net with BatchNorm and padded convolutions, for images whose sides are multiples of 16.

Source: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015; half
as wide as there.

python benchmarks/run.py --config examples/zoo/unet.yaml
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, LEVELS = 32, 4


def build(num_classes: int) -> nn.Module:
    """Images (N, 3, H, W) to logits (N, classes, H, W)."""
    return UNet(num_classes)


class UNet(nn.Module):
    """Four times down by max pooling, four times up by transposed convolutions, joined by concatenation."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        widths = [WIDTH << level for level in range(LEVELS + 1)]
        self.down = nn.ModuleList(_pair(a, b) for a, b in zip([3, *widths[:-1]], widths, strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in widths[-2::-1])
        self.merge = nn.ModuleList(_pair(2 * width, width) for width in widths[-2::-1])
        self.head = nn.Conv2d(WIDTH, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skipped = [self.down[0](x)]
        for block in self.down[1:]:
            skipped.append(block(F.max_pool2d(skipped[-1], 2)))
        x = skipped.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([skipped.pop(), up(x)], 1))
        return self.head(x)


def _pair(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        conv = nn.Conv2d(channels, outputs, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
