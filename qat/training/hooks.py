"""Hooks of a training stage in the loop: freeze observers, switch quantizers, evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from qat.training.checkpointing import Stateful


class Hooks(Stateful, Protocol):
    """Hooks that the loop calls in every process; checkpoints store their state.

    A resumed run calls `on_step_start` first with the step it continues at, never again with those before it.
    """

    @property
    def stopped(self) -> bool:
        """Return True to end the training; the loop checks it before every step."""

    def on_training_start(self, steps_per_epoch: int) -> None:
        """Prepare, once, when weights and state of the first step are loaded and on their device."""

    def on_step_start(self, step: int, epoch: int) -> None:
        """Run before step `step` (counted from 0 over all epochs), after the model switched to training mode."""

    def on_step_end(self, step: int) -> None:
        """Run after the optimizer updated the weights in step `step`."""

    def on_epoch_end(self, epoch: int) -> Mapping[str, float]:
        """Run after the last step of `epoch` (from 0). The result becomes a line of the metrics file."""

    def on_training_end(self) -> None:
        """Run after the last step, before the model is written."""


class NoHooks:
    """Hooks of plain training, which do nothing."""

    @property
    def stopped(self) -> bool:
        """Return False: train to the end."""
        return False

    def on_training_start(self, steps_per_epoch: int) -> None:
        """Prepare nothing."""

    def on_step_start(self, step: int, epoch: int) -> None:
        """Do nothing."""

    def on_step_end(self, step: int) -> None:
        """Do nothing."""

    def on_epoch_end(self, epoch: int) -> Mapping[str, float]:
        """Return no metrics."""
        return {}

    def on_training_end(self) -> None:
        """Do nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to store."""
        return {}

    def load_state_dict(self, state: Any, /) -> None:
        """Nothing to restore."""
