"""How a training stage takes part in the loop: freeze observers, switch quantizers, evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from qat.checkpointing import Stateful


class Hooks(Stateful, Protocol):
    """Called by the loop in every process; the state is stored in checkpoints.

    A resumed run calls `on_step_start` first with the step it continues at, never again with those before it.
    """

    def on_step_start(self, step: int, epoch: int) -> None:
        """Before step `step` (counted from 0 over all epochs), after the model was put into training mode."""

    def on_epoch_end(self, epoch: int) -> Mapping[str, float]:
        """After the last step of `epoch` (from 0). What it returns becomes a line of the metrics file."""


class NoHooks:
    """Plain training."""

    def on_step_start(self, step: int, epoch: int) -> None:
        """Leave the model as it is."""

    def on_epoch_end(self, epoch: int) -> Mapping[str, float]:
        """No metrics of its own."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Nothing to store."""
        return {}

    def load_state_dict(self, state: Any, /) -> None:
        """Nothing to restore."""
