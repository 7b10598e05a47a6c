"""ResNet-18 and -50, key-compatible with torchvision's checkpoints.

Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016; a bottleneck halves the
resolution in its 3×3 convolution, as torchvision's weights expect.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

STEM_PLANES = 64


@dataclass(frozen=True)
class ResNetSize:
    """Blocks of the four stages, each stage twice as wide as the one before; a bottleneck ends four times as wide."""

    blocks: tuple[int, int, int, int]
    bottleneck: bool


RESNETS = {
    "resnet18": ResNetSize((2, 2, 2, 2), bottleneck=False),
    "resnet50": ResNetSize((3, 4, 6, 3), bottleneck=True),
}


class ResNet(nn.Module):
    """A ResNet for images of any size from 32 px on."""

    def __init__(self, size: ResNetSize, num_classes: int) -> None:
        """
        Args:
            size: one of `RESNETS`.
            num_classes: channels of the logits.
        """
        super().__init__()
        block = Bottleneck if size.bottleneck else BasicBlock
        self.conv1 = nn.Conv2d(3, STEM_PLANES, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_PLANES)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs, stages = STEM_PLANES, list[nn.Sequential]()
        for stage, count in enumerate(size.blocks):
            planes, stride = STEM_PLANES << stage, 1 if stage == 0 else 2
            layers = [block(inputs, planes, stride)]
            inputs = planes * block.expansion
            layers += [block(inputs, planes, 1) for _ in range(count - 1)]
            stages.append(nn.Sequential(*layers))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images, float32 (N, 3, H, W), to logits (N, classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _projection(inputs, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(x + shortcut)


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions beside a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        outputs = planes * self.expansion
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.downsample = _projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)) + shortcut)


def _projection(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """The shortcut where the shape changes."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
