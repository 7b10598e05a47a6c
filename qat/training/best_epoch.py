"""Score the network after every epoch, keep the best weights, and end when no epoch beats them any more."""

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
            score: of the model as it is, higher is better; the same in every process.
            patience: epochs in a row without a new best after which training stops; None for any.
        """
        self.model, self.score, self.patience = model, score, patience
        self.best = -float("inf")
        self.waited = 0
        self.weights: dict[str, Any] = {}

    @property
    def stopped(self) -> bool:
        """Whether the last `patience` epochs brought nothing."""
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
        """Give the model the best weights; without an epoch behind it, it stays as it is."""
        if self.weights:
            self.model.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        """Score and weights of the best epoch, and how many followed it."""
        return {"best": self.best, "waited": self.waited, "weights": self.weights}

    def load_state_dict(self, state: Any, /) -> None:
        """Restore what `state_dict` gave."""
        self.best, self.waited, self.weights = state["best"], state["waited"], dict(state["weights"])


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value
