"""A small depthwise network whose channels can get very different ranges without a change of its function."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 24
BLOCKS = 3


class UnevenNet(nn.Module):
    """Stem at a quarter of the size, then blocks of a depthwise and a pointwise convolution with ReLU, then a head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, WIDTH, 5, 4, 2), nn.ReLU())
        self.depthwise = nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, 3, 1, 1, groups=WIDTH) for _ in range(BLOCKS))
        self.pointwise = nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, 1) for _ in range(BLOCKS))
        self.head = nn.Conv2d(WIDTH, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) to logits (N, classes, H/4, W/4)."""
        x = self.stem(x)
        for depthwise, pointwise in zip(self.depthwise, self.pointwise, strict=True):
            x = F.relu(pointwise(F.relu(depthwise(x))))
        logits: Tensor = self.head(x)
        return logits


def unevened(state: dict[str, Tensor], spread: float, seed: int = 0) -> dict[str, Tensor]:
    """Weights of an `UnevenNet` that computes the same, with channels up to `spread` times larger than others.

    A positive factor passes a ReLU, so the next convolution's input weights are divided by it. Weights have a scale for
    each output channel, but activations have one for all: the small channels lose their bits.
    """
    state = {name: value.clone() for name, value in state.items()}
    generator = torch.Generator().manual_seed(seed)
    chain = ["stem.0", *(f"{kind}.{block}" for block in range(BLOCKS) for kind in ("depthwise", "pointwise")), "head"]
    for name, after in itertools.pairwise(chain):
        factors = spread ** torch.rand(WIDTH, generator=generator)
        state[f"{name}.weight"] *= factors[:, None, None, None]
        state[f"{name}.bias"] *= factors
        other = state[f"{after}.weight"]
        other /= factors[:, None, None, None] if other.shape[1] == 1 else factors[None, :, None, None]
    return state


def net(num_classes: int) -> UnevenNet:
    """The network, for `model.factory`."""
    return UnevenNet(num_classes)
