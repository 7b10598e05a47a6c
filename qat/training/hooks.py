"""How a training stage takes part in the loop: freeze observers, switch quantizers, evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from qat.training.checkpointing import Stateful


class Hooks(Stateful, Protocol):
    """Called by the loop in every process; the state is stored in checkpoints.

    A resumed run calls `on_step_start` first with the step it continues at, never again with those before it.
    """

    @property
    def stopped(self) -> bool:
        """Whether the training ends here; asked before every step."""

    def on_training_start(self, steps_per_epoch: int) -> None:
        """Once, when weights and state are those that the first step will see, on their device."""

    def on_step_start(self, step: int, epoch: int) -> None:
        """Before step `step` (counted from 0 over all epochs), after the model was put into training mode."""

    def on_step_end(self, step: int) -> None:
        """After the optimizer moved the weights in step `step`."""

    def on_epoch_end(self, epoch: int) -> Mapping[str, float]:
        """After the last step of `epoch` (from 0). What it returns becomes a line of the metrics file."""

    def on_training_end(self) -> None:
        """After the last step; the model is written as it is then."""


class NoHooks:
    """Plain training."""

    @property
    def stopped(self) -> bool:
        """Train to the end."""
        return False

    def on_training_start(self, steps_per_epoch: int) -> None:
        """Prepare nothing."""

    def on_step_start(self, step: int, epoch: int) -> None:
        """Leave the model as it is."""

    def on_step_end(self, step: int) -> None:
        """Leave the model as it is."""

    def on_epoch_end(self, epoch: int) -> Mapping[str, float]:
        """No metrics of its own."""
        return {}

    def on_training_end(self) -> None:
        """Leave the model as it is."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to store."""
        return {}

    def load_state_dict(self, state: Any, /) -> None:
        """Nothing to restore."""
