"""A small residual classifier of generated shapes, in the form that `sensitivity_analysis.py` needs.

python examples/sensitivity_classifier/train.py
python sensitivity_analysis.py --config examples/sensitivity_classifier/config.yaml
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

SIDE, CLASSES = 24, 4


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + x)


def get_model() -> nn.Module:
    """Images (N, 3, 24, 24) to logits (N, 4)."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(Residual(16), Residual(16)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, CLASSES)),
    )


def get_data_loader(split: str = "val") -> DataLoader[tuple[Tensor, ...]]:
    """Batches of (image, class)."""
    images, labels = shapes(256, seed=1 if split == "train" else 2)
    return DataLoader(TensorDataset(images, labels), batch_size=32)


def get_criterion() -> nn.Module:
    """Cross-entropy."""
    return nn.CrossEntropyLoss()


def get_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """Only used with `recover:` in the config."""
    return torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)


def shapes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy images of a disc, a square, a horizontal bar or a vertical bar, with the shape as the class."""
    numbers = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (count,), generator=numbers)
    middle = torch.randint(9, SIDE - 9, (count, 2), generator=numbers)
    color = 0.5 + torch.rand(count, 3, generator=numbers)
    along = torch.arange(SIDE)
    dy = (along - middle[:, :1]).abs()[:, :, None]
    dx = (along - middle[:, 1:]).abs()[:, None, :]
    masks = (dy**2 + dx**2 <= 36, (dy <= 5) & (dx <= 5), (dy <= 2) & (dx <= 8), (dy <= 8) & (dx <= 2))
    mask = torch.stack(masks, 1)[torch.arange(count), labels]
    images = mask[:, None] * color[:, :, None, None] + 0.3 * torch.randn(count, 3, SIDE, SIDE, generator=numbers)
    return images, labels
