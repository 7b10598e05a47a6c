"""The network and the data of a run config, as `sensitivity_analysis.py` reads them; `data_path` names that config.

pidnet-int8 fp32 --config configs/pidnet_s_streets.yaml
python sensitivity_analysis.py --config examples/sensitivity_pidnet/config.yaml
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from core.config import Config, load_config
from qat.data import build_dataset, normalize
from qat.data.base import IGNORE
from qat.models import build_model
from qat.models.checkpoint import load_state


def get_model(model_path: str, data_path: str) -> nn.Module:
    """The deployment network: images (N, 3, H, W) to logits (N, classes, H/8, W/8), without the auxiliary heads."""
    model = build_model(load_config(Path(data_path)).model, augment=False)
    load_state(model, Path(model_path))
    return model


def get_data_loader(data_path: str, split: str = "val") -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches of (image, label map)."""
    return DataLoader(Scenes(load_config(Path(data_path)), split), batch_size=2)


def get_criterion() -> nn.Module:
    """Cross-entropy of the logits at the size of the label map."""
    return PixelLoss()


def get_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """Only used with `recover:` in the config."""
    return torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)


def get_class_names(data_path: str) -> tuple[str, ...]:
    """For the report's changes class by class."""
    return Scenes(load_config(Path(data_path)), "val").data.class_names


class Scenes(Dataset[tuple[Tensor, Tensor]]):
    """A split as tensors, without augmentation."""

    def __init__(self, config: Config, split: str) -> None:
        self.how = config.data
        self.data = build_dataset(config.data, "train" if split == "train" else "val", seed=config.seed)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self.data[index]
        return torch.from_numpy(normalize(sample.image, self.how)), torch.from_numpy(sample.label).long()


class PixelLoss(nn.Module):
    """Mean cross-entropy over labelled pixels."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        logits = F.interpolate(logits, labels.shape[-2:], mode="bilinear", align_corners=True)
        return F.cross_entropy(logits, labels, ignore_index=IGNORE)
