"""DDRNet-23-slim, for images whose sides are multiples of 64.

Source: Hong, Pan, Sun, Jia, "Deep Dual-resolution Networks for Real-time and Accurate Semantic Segmentation of Road
Scenes", 2021, table 2. Two branches, at an eighth and down to a 64th of the image, exchange features twice. In
training a second head sees the first exchange; in evaluation there is one output.

python benchmarks/run.py --config examples/zoo/ddrnet_23_slim.yaml
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from qat.models.pidnet_blocks import DAPPM, BasicBlock, Bottleneck, SegmentHead, conv_bn, resize_to

PLANES, POOLING, HEAD = 32, 128, 64
AUX_WEIGHT, IGNORE = 0.4, 255


def build(num_classes: int, augment: bool) -> nn.Module:
    """Images (N, 3, H, W) to logits (N, classes, H/8, W/8); with `augment` and in training a pair of them."""
    return DDRNet(num_classes, augment=augment)


def loss(outputs: Tensor | tuple[Tensor, Tensor], label: Tensor) -> Tensor:
    """Cross entropy of the pixels, of the second head at 0.4 of its weight."""
    main, *others = [outputs] if isinstance(outputs, Tensor) else outputs
    return _entropy(main, label) + AUX_WEIGHT * sum(_entropy(other, label) for other in others)


def _entropy(logits: Tensor, label: Tensor) -> Tensor:
    logits = F.interpolate(logits.float(), size=label.shape[-2:], mode="bilinear", align_corners=False)
    return F.cross_entropy(logits, label, ignore_index=IGNORE)


class DDRNet(nn.Module):
    """The slim network of 23 layers; names ending in `_` are of the branch of high resolution."""

    def __init__(self, num_classes: int, *, augment: bool) -> None:
        super().__init__()
        self.training_only = () if augment else ("extra.",)
        p = PLANES
        self.stem = nn.Sequential(*_activated(3, p), *_activated(p, p))
        self.layer1 = _layer(BasicBlock, p, p, 2, 1)
        self.layer2 = _layer(BasicBlock, p, 2 * p, 2, 2)
        self.layer3 = _layer(BasicBlock, 2 * p, 4 * p, 2, 2)
        self.layer4 = _layer(BasicBlock, 4 * p, 8 * p, 2, 2)
        self.layer5 = _layer(Bottleneck, 8 * p, 8 * p, 1, 2)
        self.layer3_ = _layer(BasicBlock, 2 * p, 2 * p, 2, 1)
        self.layer4_ = _layer(BasicBlock, 2 * p, 2 * p, 2, 1)
        self.layer5_ = _layer(Bottleneck, 2 * p, 2 * p, 1, 1)
        self.up3, self.up4 = conv_bn(4 * p, 2 * p), conv_bn(8 * p, 2 * p)
        self.down3 = conv_bn(2 * p, 4 * p, 3, 2)
        self.down4 = nn.Sequential(*_activated(2 * p, 4 * p), *conv_bn(4 * p, 8 * p, 3, 2))
        self.pooling = DAPPM(16 * p, POOLING, 4 * p)
        self.extra = SegmentHead(2 * p, HEAD, num_classes) if augment else None
        self.head = SegmentHead(4 * p, HEAD, num_classes)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = F.relu(self.layer2(F.relu(self.layer1(self.stem(x)))))
        low, high = self.layer3(x), self.layer3_(x)
        low, high = low + self.down3(F.relu(high)), high + resize_to(self.up3(F.relu(low)), high)
        exchanged = high
        low, high = self.layer4(F.relu(low)), self.layer4_(F.relu(high))
        low, high = low + self.down4(F.relu(high)), high + resize_to(self.up4(F.relu(low)), high)
        low, high = self.layer5(F.relu(low)), self.layer5_(F.relu(high))
        logits = self.head(high + resize_to(self.pooling(low), high))
        return (logits, self.extra(exchanged)) if self.training and self.extra is not None else logits


def _activated(inputs: int, outputs: int) -> list[nn.Module]:
    """A convolution that halves the resolution, BatchNorm and ReLU."""
    return [*conv_bn(inputs, outputs, 3, 2), nn.ReLU(inplace=True)]


def _layer(
    block: type[BasicBlock] | type[Bottleneck], inputs: int, planes: int, count: int, stride: int
) -> nn.Sequential:
    """Residual blocks, the last of them without its final ReLU."""
    channels = planes * block.expansion
    shortcut = conv_bn(inputs, channels, stride=stride) if stride != 1 or inputs != channels else None
    first = block(inputs, planes, stride, shortcut, count > 1)
    return nn.Sequential(first, *(block(channels, planes, 1, None, index < count - 1) for index in range(1, count)))
