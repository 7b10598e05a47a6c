"""ResNet-18 and -50 (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016) for placement tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """Convolutions with BatchNorm, ReLU between them, plus the (projected) input, then ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int, *convs: tuple[int, int, int, int]) -> None:
        """Each of `convs` is (inputs, outputs, kernel, stride)."""
        super().__init__()
        layers: list[nn.Module] = []
        for c_in, c_out, kernel, step in convs:
            conv = nn.Conv2d(c_in, c_out, kernel, stride=step, padding=kernel // 2, bias=False)
            layers += [conv, nn.BatchNorm2d(c_out), nn.ReLU()]
        self.body = nn.Sequential(*layers[:-1])
        projected = stride != 1 or inputs != outputs
        projection = [nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)]
        self.shortcut = nn.Sequential(*projection) if projected else None
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x) + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nn.Module):
    """Stem with max pooling, four stages, global average pooling and a linear classifier."""

    def __init__(self, blocks: tuple[int, int, int, int], *, bottleneck: bool, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        stages, channels = [], 64
        for stage, count in enumerate(blocks):
            width = 64 << stage
            outputs = width * 4 if bottleneck else width
            for index in range(count):
                stride = 2 if stage and not index else 1
                stages.append(_block(channels, width, outputs, stride, bottleneck=bottleneck))
                channels = outputs
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.pool(self.stages(self.stem(x))), 1))


def _block(inputs: int, width: int, outputs: int, stride: int, *, bottleneck: bool) -> Residual:
    if bottleneck:
        convs = ((inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1))
    else:
        convs = ((inputs, outputs, 3, stride), (outputs, outputs, 3, 1))
    return Residual(inputs, outputs, stride, *convs)


def resnet18() -> ResNet:
    """Basic blocks, 20 convolutions."""
    return ResNet((2, 2, 2, 2), bottleneck=False).eval()


def resnet50() -> ResNet:
    """Bottleneck blocks, 53 convolutions."""
    return ResNet((3, 4, 6, 3), bottleneck=True).eval()
