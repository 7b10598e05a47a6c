"""Scores the network after every epoch, keeps the best weights, and stops when no further epoch beats them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from qat.training.hooks import NoHooks


class BestEpoch(NoHooks):
    """The best epoch so far and its weights, both part of checkpoints."""

    def __init__(self, model: nn.Module, score: Callable[[], float], patience: int | None) -> None:
        """
        Args:
            score: scores the present model, higher is better; the same in every process.
            patience: epochs in a row without a new best after which training stops; None for any.
        """
        self.model, self.score, self.patience = model, score, patience
        self.best = -float("inf")
        self.waited = 0
        self.weights: dict[str, Any] = {}

    @property
    def stopped(self) -> bool:
        """Return True if the last `patience` epochs brought no improvement."""
        return self.patience is not None and self.waited >= self.patience

    def on_epoch_end(self, epoch: int) -> Mapping[str, float]:
        """Score, and remember the weights of a new best."""
        score = self.score()
        if score > self.best:
            self.best, self.waited = score, 0
            self.weights = {name: _copied(value) for name, value in self.model.state_dict().items()}
        else:
            self.waited += 1
        return {"tuning_score": score, "best_tuning_score": self.best}

    def adopt(self) -> None:
        """Load the best weights into the model; before the first epoch, leave it unchanged."""
        if self.weights:
            self.model.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        """Score and weights of the best epoch, and how many followed it."""
        return {"best": self.best, "waited": self.waited, "weights": self.weights}

    def load_state_dict(self, state: Any, /) -> None:
        """Restore a result of `state_dict`."""
        self.best, self.waited, self.weights = state["best"], state["waited"], dict(state["weights"])


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value
