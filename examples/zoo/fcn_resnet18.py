"""ResNet-18 as a segmentation network: its features at a sixteenth of the size, scored by a 1×1 convolution.

Sources: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; Long, Shelhamer, Darrell, "Fully
Convolutional Networks for Semantic Segmentation", CVPR 2015 (FCN-16s without its skip).

python benchmarks/run.py --config examples/zoo/fcn_resnet18.yaml
"""

from __future__ import annotations

from torch import Tensor, nn

from qat.models.resnet import RESNETS, ResNet


def build(num_classes: int) -> nn.Module:
    """Images (N, 3, H, W) to logits (N, classes, H/16, W/16)."""
    return FCN(num_classes)


class FCN(nn.Module):
    """The three first stages of ResNet-18 and a classifier of places."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        whole = ResNet(RESNETS["resnet18"], num_classes)
        self.stem = nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool)
        self.stages = nn.Sequential(whole.layer1, whole.layer2, whole.layer3)
        self.head = nn.Conv2d(256, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.stem(x)))
