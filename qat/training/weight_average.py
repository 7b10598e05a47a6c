"""An exponential moving average of the weights, which is what is evaluated and exported when it is on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from qat.quantization.quantizer_names import refresh_weight_ranges
from qat.training.hooks import NoHooks


class WeightAverage(NoHooks):
    """Follows what the optimizer trains, learned scales included; everything else of the model is copied as it is.

    The decay grows as (1 + t) / (10 + t) up to its final value, so that the first steps do not weigh on the average
    for ever (the form that TensorFlow's `ExponentialMovingAverage` has).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """`decay` is the share of the old average that a step keeps."""
        self.model, self.decay = model, decay
        self.average: dict[str, Tensor] = {}

    def on_training_start(self, steps_per_epoch: int) -> None:
        """Begin with the weights that training begins with, unless a checkpoint brought an average."""
        if not self.average:
            self.average = {name: value.detach().clone() for name, value in _tensors(self.model).items()}

    def on_step_end(self, step: int) -> None:
        """Take in the weights after step `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = _tensors(self.model)
        trained = [name for name, value in current.items() if value.requires_grad]
        with torch.no_grad():
            torch._foreach_lerp_([self.average[n] for n in trained], [current[n] for n in trained], 1 - decay)
            for name in current.keys() - set(trained):
                self.average[name].copy_(current[name])

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Within the context, the model has the averaged weights, and weight ranges that fit them."""
        trained = {name: value.detach().clone() for name, value in _tensors(self.model).items()}
        self.adopt()
        try:
            yield
        finally:
            _copy(trained, self.model)

    def adopt(self) -> None:
        """Give the model the averaged weights."""
        _copy(self.average, self.model)
        refresh_weight_ranges(self.model)

    def state_dict(self) -> dict[str, Any]:
        """The average."""
        return {"average": self.average}

    def load_state_dict(self, state: Any, /) -> None:
        """Restore what `state_dict` gave."""
        self.average = dict(state["average"])


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _copy(source: dict[str, Tensor], model: nn.Module) -> None:
    with torch.no_grad():
        for name, value in _tensors(model).items():
            value.copy_(source[name])
