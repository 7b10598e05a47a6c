"""An exponential moving average of the weights; when it is on, the average is evaluated and exported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from qat.quantization.quantizer_names import refresh_weight_ranges
from qat.training.hooks import NoHooks


class WeightAverage(NoHooks):
    """Averages every parameter, including ranges and learned scales; buffers stay the model's own.

    The decay grows as (1 + t) / (10 + t) up to its final value, so that the average forgets the first steps (the form
    of TensorFlow's `ExponentialMovingAverage`).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """
        Args:
            model: on the device that it is trained on, without hooks: it is copied.
            decay: share of the old average that a step keeps.
        """
        self.model, self.decay = model, decay
        self.average = AveragedModel(model, multi_avg_fn=self._follow)

    def on_step_end(self, step: int) -> None:
        """Add the weights after step `step`; the first weights start the average."""
        self.average.update_parameters(self.model)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Within the context, give the model the averaged weights and matching weight ranges."""
        trained = [value.detach().clone() for value in self.model.parameters()]
        self.adopt()
        try:
            yield
        finally:
            self._set(trained)

    def adopt(self) -> None:
        """Load the averaged weights into the model; before the first step it keeps its own."""
        if self.average.n_averaged > 0:
            self._set(list(self.average.module.parameters()))
            refresh_weight_ranges(self.model)

    def state_dict(self) -> dict[str, Any]:
        """The average."""
        return self.average.state_dict()

    def load_state_dict(self, state: Any, /) -> None:
        """Restore a result of `state_dict`."""
        self.average.load_state_dict(state)

    def _follow(self, averages: Any, weights: Any, steps: Tensor | int) -> None:
        """Move `averages`, in place, towards `weights` after `steps` earlier ones."""
        decay = min(self.decay, (1 + int(steps)) / (10 + int(steps)))
        torch._foreach_lerp_(averages, weights, 1 - decay)

    def _set(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.model.parameters(), values, strict=True):
                parameter.copy_(value)
