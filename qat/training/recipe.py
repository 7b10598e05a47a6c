"""Work of fine-tuning between steps: ranges by approach, averaged weights, the best epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from torch import nn

from core.config import QatConfig
from qat.training.best_epoch import BestEpoch
from qat.training.hooks import Hooks, NoHooks
from qat.training.weight_average import WeightAverage


class Recipe(NoHooks):
    """The approach's hooks, extended by `qat.ema_decay` and the choice of the best epoch."""

    def __init__(self, model: nn.Module, config: QatConfig, ranges: Hooks, score: Callable[[], float] | None) -> None:
        """`score` returns the tuning score, which decides the epoch to keep; None keeps the last epoch."""
        self.ranges = ranges
        self.average = None if config.ema_decay is None else WeightAverage(model, config.ema_decay)
        self.best = None if score is None else BestEpoch(model, score, config.early_stop_epochs)
        own = {"ranges": ranges, "average": self.average, "best": self.best}
        self.parts: dict[str, Hooks] = {name: part for name, part in own.items() if part is not None}

    @property
    def stopped(self) -> bool:
        """Return True if one of the parts stops the training."""
        return any(part.stopped for part in self.parts.values())

    def on_training_start(self, steps_per_epoch: int) -> None:
        """Call each part in turn."""
        for part in self.parts.values():
            part.on_training_start(steps_per_epoch)

    def on_step_start(self, step: int, epoch: int) -> None:
        for part in self.parts.values():
            part.on_step_start(step, epoch)

    def on_step_end(self, step: int) -> None:
        for part in self.parts.values():
            part.on_step_end(step)

    def on_epoch_end(self, epoch: int) -> Mapping[str, float]:
        """Score the weights that would be exported: averaged weights if there are any."""
        with self.average.swapped_in() if self.average and self.best else nullcontext():
            values = [part.on_epoch_end(epoch) for part in self.parts.values()]
        return {name: value for found in values for name, value in found.items()}

    def on_training_end(self) -> None:
        """Load the final weights into the model: of the best epoch, else averaged, else the last."""
        if self.best:
            self.best.adopt()
        elif self.average:
            self.average.adopt()

    def state_dict(self) -> dict[str, Any]:
        """The states of all parts."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: Any, /) -> None:
        """Restore a result of `state_dict`."""
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
