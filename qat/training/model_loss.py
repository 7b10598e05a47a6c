"""The training loss of a network: the user's, the network's own, or the task's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.config import Config
from core.errors import UserError
from core.files.user_code import load_function
from qat.models.pidnet import SIZES
from qat.tasks import task_of
from qat.tasks.losses import Loss
from qat.training.pidnet_loss import PIDNetLoss


def build_loss(config: Config) -> Loss:
    """`model.loss` if it is set, PIDNet's loss for a PIDNet, else the loss of the task.

    Raises:
        UserError: `model.loss` does not name a function of a Python file.
    """
    if config.model.loss is not None:
        return UserLoss(config.model.loss)
    return PIDNetLoss(config.train) if config.model.name in SIZES else task_of(config).loss(config)


def loss_files(config: Config) -> tuple[Path, ...]:
    """The user's own files that the loss depends on."""
    return () if config.model.loss is None else (Path(config.model.loss.rpartition(":")[0]),)


class UserLoss:
    """A loss of outputs and label: all heads in FP32 training, the deployed head in quantization-aware training."""

    def __init__(self, reference: str) -> None:
        """`reference` is "file.py:function"."""
        self.reference = reference
        self.function = load_function(reference, "model.loss")

    def __call__(self, outputs: Any, label: Tensor, *_targets: Tensor) -> dict[str, Tensor]:
        """
        Args:
            outputs: of the network.
            label: int64 (N, H, W), or (N,) of a classifier.

        Returns:
            Scalars by name; where the function returns one tensor, it is "loss".

        Raises:
            UserError: the function returns something else.
        """
        found = self.function(outputs, label)
        losses = {"loss": found} if isinstance(found, Tensor) else found
        numbers = isinstance(losses, dict) and all(isinstance(value, Tensor) for value in losses.values())
        if not numbers or "loss" not in losses or losses["loss"].numel() != 1:
            raise UserError(
                f"model.loss: {self.reference} returned {type(found).__name__}",
                why="it must return a scalar tensor, or a dict of scalar tensors with the key loss",
                fix="see docs/reference/config.md",
            )
        return {name: torch.as_tensor(value).reshape(()) for name, value in losses.items()}
