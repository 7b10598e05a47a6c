"""PIDNet S, M and L, key-compatible with the original authors' checkpoints.

Source: Xu, Xiong, Bhattacharyya, "PIDNet: A Real-time Semantic Segmentation Network Inspired by PID Controllers",
CVPR 2023. The three branches are P (detail, names ending in `_`), I (context) and D (boundaries, `_d`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qat.models.pidnet_blocks import (
    DAPPM,
    PAPPM,
    Bag,
    BasicBlock,
    Bottleneck,
    LightBag,
    PagFM,
    SegmentHead,
    conv_bn,
    resize_to,
)


@dataclass(frozen=True)
class PIDNetSize:
    """The parameters that distinguish S, M and L. `deep` networks have DAPPM, Bag and a wider D branch."""

    planes: int
    shallow_blocks: int
    deep_blocks: int
    pooling_planes: int
    head_planes: int
    deep: bool


SIZES = {
    "pidnet_s": PIDNetSize(32, 2, 3, 96, 128, deep=False),
    "pidnet_m": PIDNetSize(64, 2, 3, 96, 128, deep=False),
    "pidnet_l": PIDNetSize(64, 3, 4, 112, 256, deep=True),
}


class PIDNet(nn.Module):
    """PIDNet for images whose sides are multiples of 8."""

    def __init__(self, size: PIDNetSize, num_classes: int, *, augment: bool) -> None:
        """
        Args:
            size: one of `SIZES`.
            num_classes: channels of the logits.
            augment: also build and return the auxiliary heads that training uses.
        """
        super().__init__()
        self.augment = augment
        self.training_only = () if augment else ("seghead_p.", "seghead_d.")
        p, m, n = size.planes, size.shallow_blocks, size.deep_blocks
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, p, 3, stride=2, padding=1),
            nn.BatchNorm2d(p),
            nn.ReLU(),
            nn.Conv2d(p, p, 3, stride=2, padding=1),
            nn.BatchNorm2d(p),
            nn.ReLU(),
        )
        self.relu = nn.ReLU()
        self.layer1 = _layer(BasicBlock, p, p, m)
        self.layer2 = _layer(BasicBlock, p, p * 2, m, stride=2)
        self.layer3 = _layer(BasicBlock, p * 2, p * 4, n, stride=2)
        self.layer4 = _layer(BasicBlock, p * 4, p * 8, n, stride=2)
        self.layer5 = _layer(Bottleneck, p * 8, p * 8, 2, stride=2)

        self.compression3 = conv_bn(p * 4, p * 2)
        self.compression4 = conv_bn(p * 8, p * 2)
        self.pag3 = PagFM(p * 2, p)
        self.pag4 = PagFM(p * 2, p)
        self.layer3_ = _layer(BasicBlock, p * 2, p * 2, m)
        self.layer4_ = _layer(BasicBlock, p * 2, p * 2, m)
        self.layer5_ = _layer(Bottleneck, p * 2, p * 2, 1)

        boundary = p * 2 if size.deep else p
        self.layer3_d = _block(BasicBlock, p * 2, boundary, last_relu=False)
        self.layer4_d = _block(BasicBlock, p * 2, p * 2, last_relu=False) if size.deep else _layer(Bottleneck, p, p, 1)
        self.diff3 = conv_bn(p * 4, boundary, kernel=3)
        self.diff4 = conv_bn(p * 8, p * 2, kernel=3)
        self.layer5_d = _layer(Bottleneck, p * 2, p * 2, 1)

        self.spp = (DAPPM if size.deep else PAPPM)(p * 16, size.pooling_planes, p * 4)
        self.dfm = (Bag if size.deep else LightBag)(p * 4, p * 4)
        if augment:
            self.seghead_p = SegmentHead(p * 2, size.head_planes, num_classes)
            self.seghead_d = SegmentHead(p * 2, p, 1)
        self.final_layer = SegmentHead(p * 4, size.head_planes, num_classes)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """
        Args:
            x: normalised images, float32 (N, 3, H, W), H and W multiples of 8.

        Returns:
            Logits (N, classes, H/8, W/8); with `augment` the heads (P, final, D), D with one boundary channel.
        """
        x = self.relu(self.layer1(self.conv1(x)))
        x = self.relu(self.layer2(x))
        detail, edge = self.layer3_(x), self.layer3_d(x)

        x = self.relu(self.layer3(x))
        detail = self.relu(self.pag3(detail, self.compression3(x)))
        edge = self.relu(edge + resize_to(self.diff3(x), edge))
        early_detail = detail

        x = self.relu(self.layer4(x))
        detail, edge = self.layer4_(detail), self.layer4_d(edge)
        detail = self.relu(self.pag4(detail, self.compression4(x)))
        edge = self.relu(edge + resize_to(self.diff4(x), edge))
        late_edge = edge

        detail, edge = self.layer5_(detail), self.layer5_d(edge)
        context = resize_to(self.spp(self.layer5(x)), detail)
        logits = self.final_layer(self.dfm(detail, context, edge))
        if self.augment:
            return self.seghead_p(early_detail), logits, self.seghead_d(late_edge)
        return logits


def _layer(
    block: type[BasicBlock] | type[Bottleneck], inputs: int, planes: int, blocks: int, stride: int = 1
) -> nn.Sequential:
    """`blocks` residual blocks, the last of them without its final ReLU."""
    channels = planes * block.expansion
    first_relu = block is BasicBlock  # the authors' bottlenecks never end in a ReLU
    layers = [_block(block, inputs, planes, stride, last_relu=first_relu)]
    layers += [block(channels, planes, 1, None, index < blocks - 1) for index in range(1, blocks)]
    return nn.Sequential(*layers)


def _block(
    block: type[BasicBlock] | type[Bottleneck], inputs: int, planes: int, stride: int = 1, *, last_relu: bool
) -> nn.Module:
    """One residual block, with a projection shortcut where the shape changes."""
    channels = planes * block.expansion
    shortcut = conv_bn(inputs, channels, stride=stride) if stride != 1 or inputs != channels else None
    return block(inputs, planes, stride, shortcut, last_relu)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        torch.nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
