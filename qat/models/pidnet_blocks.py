"""Building blocks of PIDNet: residual blocks, pyramid pooling, and the gates between its branches.

Parameter names are those of the original authors' checkpoints. Source: Xu, Xiong, Bhattacharyya, "PIDNet: A
Real-time Semantic Segmentation Network Inspired by PID Controllers", CVPR 2023. All tensors are (N, C, H, W) float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def resize_to(x: Tensor, like: Tensor) -> Tensor:
    """`x` resampled bilinearly to the height and width of `like`."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def conv_bn(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """Convolution that keeps the size (at stride 1), then BatchNorm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def bn_relu_conv(inputs: int, outputs: int, kernel: int = 1, groups: int = 1) -> list[nn.Module]:
    """Pre-activation order: BatchNorm, ReLU, convolution."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    return [nn.BatchNorm2d(inputs), nn.ReLU(), conv]


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut; the ReLU after the sum is left out where `last_relu` is false."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, downsample: nn.Module | None, last_relu: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample
        self.last_relu = last_relu

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out = out + (x if self.downsample is None else self.downsample(x))
        return self.relu(out) if self.last_relu else out


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 convolutions and a shortcut; twice as many channels out as `planes`."""

    expansion = 2

    def __init__(self, inputs: int, planes: int, stride: int, downsample: nn.Module | None, last_relu: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.relu = nn.ReLU()
        self.downsample = downsample
        self.last_relu = last_relu

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out = out + (x if self.downsample is None else self.downsample(x))
        return self.relu(out) if self.last_relu else out


class SegmentHead(nn.Module):
    """Logits from features: BN-ReLU-3×3 conv, BN-ReLU-1×1 conv."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, hidden, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(hidden, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.relu(self.bn1(x)))
        return self.conv2(self.relu(self.bn2(x)))


class _PyramidPooling(nn.Module):
    """The scales that PAPPM and DAPPM share: the input itself, three average pools and the global mean."""

    def __init__(self, inputs: int, branch: int, outputs: int) -> None:
        super().__init__()
        self.scale1 = nn.Sequential(nn.AvgPool2d(5, stride=2, padding=2), *bn_relu_conv(inputs, branch))
        self.scale2 = nn.Sequential(nn.AvgPool2d(9, stride=4, padding=4), *bn_relu_conv(inputs, branch))
        self.scale3 = nn.Sequential(nn.AvgPool2d(17, stride=8, padding=8), *bn_relu_conv(inputs, branch))
        self.scale4 = nn.Sequential(nn.AdaptiveAvgPool2d((1, 1)), *bn_relu_conv(inputs, branch))
        self.scale0 = nn.Sequential(*bn_relu_conv(inputs, branch))
        self.compression = nn.Sequential(*bn_relu_conv(branch * 5, outputs))
        self.shortcut = nn.Sequential(*bn_relu_conv(inputs, outputs))


class PAPPM(_PyramidPooling):
    """Parallel aggregation: all scales are processed by one grouped convolution."""

    def __init__(self, inputs: int, branch: int, outputs: int) -> None:
        super().__init__(inputs, branch, outputs)
        self.scale_process = nn.Sequential(*bn_relu_conv(branch * 4, branch * 4, kernel=3, groups=4))

    def forward(self, x: Tensor) -> Tensor:
        base = self.scale0(x)
        pooled = [resize_to(scale(x), x) + base for scale in (self.scale1, self.scale2, self.scale3, self.scale4)]
        processed = self.scale_process(torch.cat(pooled, 1))
        return self.compression(torch.cat([base, processed], 1)) + self.shortcut(x)


class DAPPM(_PyramidPooling):
    """Deep aggregation: each scale is processed on top of the finer one before it."""

    def __init__(self, inputs: int, branch: int, outputs: int) -> None:
        super().__init__(inputs, branch, outputs)
        self.process1 = nn.Sequential(*bn_relu_conv(branch, branch, kernel=3))
        self.process2 = nn.Sequential(*bn_relu_conv(branch, branch, kernel=3))
        self.process3 = nn.Sequential(*bn_relu_conv(branch, branch, kernel=3))
        self.process4 = nn.Sequential(*bn_relu_conv(branch, branch, kernel=3))

    def forward(self, x: Tensor) -> Tensor:
        scales = (self.scale1, self.scale2, self.scale3, self.scale4)
        processes = (self.process1, self.process2, self.process3, self.process4)
        aggregated = [self.scale0(x)]
        for scale, process in zip(scales, processes, strict=True):
            aggregated.append(process(resize_to(scale(x), x) + aggregated[-1]))
        return self.compression(torch.cat(aggregated, 1)) + self.shortcut(x)


class PagFM(nn.Module):
    """Pixel-attention-guided fusion: a similarity gate mixes detail `x` with the smaller, semantic `y`."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.f_x = conv_bn(channels, hidden)
        self.f_y = conv_bn(channels, hidden)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        similarity = (self.f_x(x) * resize_to(self.f_y(y), x)).sum(dim=1, keepdim=True)
        gate = torch.sigmoid(similarity)
        return (1 - gate) * x + gate * resize_to(y, x)


class LightBag(nn.Module):
    """Boundary-attention-guided fusion of PIDNet-S and -M: two 1×1 convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_p = conv_bn(inputs, outputs)
        self.conv_i = conv_bn(inputs, outputs)

    def forward(self, p: Tensor, i: Tensor, d: Tensor) -> Tensor:
        edge = torch.sigmoid(d)
        return self.conv_p((1 - edge) * i + p) + self.conv_i(i + edge * p)


class Bag(nn.Module):
    """Boundary-attention-guided fusion of PIDNet-L: one 3×3 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(*bn_relu_conv(inputs, outputs, kernel=3))

    def forward(self, p: Tensor, i: Tensor, d: Tensor) -> Tensor:
        edge = torch.sigmoid(d)
        return self.conv(edge * p + (1 - edge) * i)
