"""A small vision transformer, and an encoder of convolutions with attention across channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, HEADS, PATCH = 32, 4, 8


class ViT(nn.Module):
    """Patches, a class token, positions, two blocks of attention and MLP, a linear head on the class token."""

    def __init__(self, num_classes: int, patches: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH) * 0.02)
        self.positions = nn.Parameter(torch.randn(1, patches + 1, WIDTH) * 0.02)
        self.blocks = nn.Sequential(Block(), Block())
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class Block(nn.Module):
    """Attention and MLP, each behind a LayerNorm and beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.q, self.k, self.v, self.proj = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.fc1, self.fc2 = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm1(x)
        q, k, v = (_heads(layer(n)) for layer in (self.q, self.k, self.v))
        mixed = torch.softmax(q @ k.transpose(-2, -1) * (WIDTH // HEADS) ** -0.5, -1) @ v
        x = x + self.proj(mixed.transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


def _heads(x: Tensor) -> Tensor:
    return x.unflatten(2, (HEADS, WIDTH // HEADS)).transpose(1, 2)


class ByMapping(nn.Module):
    """Code that torch.fx cannot trace: `torch.zeros` of computed sizes, a loop over sizes, positions by cumulative
    sums."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.second, self.mix = nn.Conv2d(16, 16, 3, 1, 1), nn.Linear(16, 16)
        self.head = nn.Conv2d(16, num_classes, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.first(x)
        batch, _, height, width = y.shape
        rows = torch.ones(batch, 1, height, width).cumsum(2) / height
        z = self.second(y + rows)
        z += y
        tokens = self.mix(z.flatten(2).transpose(1, 2))
        z = tokens.reshape(batch, height, width, -1).permute(0, 3, 1, 2)
        for _ in range(min(2, height)):
            z = F.relu(z)
        return {"out": F.interpolate(self.head(z), size=x.shape[2:], mode="bilinear"), "features": y}
