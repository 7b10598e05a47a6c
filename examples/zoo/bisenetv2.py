"""BiSeNetV2, for images whose sides are multiples of 32.

Source: Yu, Gao, Wang, Yu, Shen, Sang, "BiSeNet V2: Bilateral Network with Guided Aggregation for Real-time Semantic
Segmentation", IJCV 2021. A wide detail branch and a deep semantic branch are joined by gates. In training four more
heads follow the semantic branch; the network always returns a tuple, as public code does.

python benchmarks/run.py --config examples/zoo/bisenetv2.yaml
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EXPANSION, HEAD, IGNORE = 6, 1024, 255
SEMANTIC = (16, 32, 64, 128)  # channels of the stem and of the stages at 1/8, 1/16 and 1/32
DETAIL = 128


def build(num_classes: int) -> nn.Module:
    """Images (N, 3, H, W) to a tuple of logits (N, classes, H, W): one, in training five."""
    return BiSeNetV2(num_classes)


def loss(outputs: Tensor | tuple[Tensor, ...], label: Tensor) -> Tensor:
    """Cross entropy of the pixels, the sum over all heads."""
    heads = (outputs,) if isinstance(outputs, Tensor) else outputs
    return torch.stack([F.cross_entropy(head.float(), label, ignore_index=IGNORE) for head in heads]).sum()


class BiSeNetV2(nn.Module):
    """Detail branch, semantic branch, guided aggregation, heads."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.detail = nn.Sequential(
            _conv(3, 64, 3, 2),
            _conv(64, 64, 3),
            _conv(64, 64, 3, 2),
            _conv(64, 64, 3),
            _conv(64, 64, 3),
            _conv(64, DETAIL, 3, 2),
            _conv(DETAIL, DETAIL, 3),
            _conv(DETAIL, DETAIL, 3),
        )
        s0, s1, s2, s3 = SEMANTIC
        self.stem = Stem(s0)
        self.stage3 = nn.Sequential(Gather(s0, s1, 2), Gather(s1, s1, 1))
        self.stage4 = nn.Sequential(Gather(s1, s2, 2), Gather(s2, s2, 1))
        self.stage5 = nn.Sequential(Gather(s2, s3, 2), *(Gather(s3, s3, 1) for _ in range(3)))
        self.context = Context(s3)
        self.aggregation = Aggregation(DETAIL)
        self.head = _head(DETAIL, HEAD, num_classes)
        self.aux = nn.ModuleList(_head(channels, DETAIL, num_classes) for channels in SEMANTIC)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        size = x.shape[2:]
        features = [self.stem(x)]
        for stage in (self.stage3, self.stage4, self.stage5):
            features.append(stage(features[-1]))
        joined = self.aggregation(self.detail(x), self.context(features[-1]))
        heads = [self.head(joined)]
        if self.training:
            heads += [head(feature) for head, feature in zip(self.aux, features, strict=True)]
        return tuple(F.interpolate(logits, size=size, mode="bilinear", align_corners=False) for logits in heads)


class Stem(nn.Module):
    """An eighth of the work at half the resolution: convolutions beside a max pool."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.first = _conv(3, outputs, 3, 2)
        self.left = nn.Sequential(_conv(outputs, outputs // 2, 1), _conv(outputs // 2, outputs, 3, 2))
        self.right = nn.MaxPool2d(3, stride=2, padding=1)
        self.fuse = _conv(2 * outputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.fuse(torch.cat([self.left(x), self.right(x)], 1))


class Gather(nn.Module):
    """Gather and expand: a 3×3 convolution, depthwise ones on six times the channels, a projection, a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = inputs * EXPANSION
        depthwise = [_depthwise(inputs, wide, stride)] + ([_depthwise(wide, wide, 1)] if stride == 2 else [])
        last = [nn.ReLU(inplace=True)] if stride == 1 else []
        self.body = nn.Sequential(_conv(inputs, inputs, 3), *depthwise, *last, _conv(wide, outputs, 1, relu=False))
        self.shortcut: nn.Module | None = None
        if stride == 2:
            self.shortcut = nn.Sequential(_depthwise(inputs, inputs, 2), _conv(inputs, outputs, 1, relu=False))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x)
        out += x if self.shortcut is None else self.shortcut(x)
        return self.relu(out)


class Context(nn.Module):
    """The mean of the whole image is added everywhere."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.one = _conv(channels, channels, 1)
        self.last = _conv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        mean = F.adaptive_avg_pool2d(x, 1)
        return self.last(x + self.one(self.norm(mean)))


class Aggregation(nn.Module):
    """Each branch is gated by the other, at both resolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.detail_same = _separable(channels)
        self.detail_down = nn.Sequential(
            _conv(channels, channels, 3, 2, relu=False), nn.AvgPool2d(3, stride=2, padding=1)
        )
        self.semantic_up = _conv(channels, channels, 3, relu=False)
        self.semantic_same = _separable(channels)
        self.last = _conv(channels, channels, 3, relu=False)

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        size = detail.shape[2:]
        gate = F.interpolate(self.semantic_up(semantic), size=size, mode="bilinear", align_corners=False)
        fine = self.detail_same(detail) * torch.sigmoid(gate)
        coarse = self.detail_down(detail) * torch.sigmoid(self.semantic_same(semantic))
        return self.last(fine + F.interpolate(coarse, size=size, mode="bilinear", align_corners=False))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, *, relu: bool = True) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *([nn.ReLU(inplace=True)] if relu else []))


def _depthwise(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, groups=inputs, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def _separable(channels: int) -> nn.Sequential:
    return nn.Sequential(_depthwise(channels, channels, 1), nn.Conv2d(channels, channels, 1, bias=False))


def _head(inputs: int, hidden: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(_conv(inputs, hidden, 3), nn.Dropout(0.1), nn.Conv2d(hidden, num_classes, 1))
