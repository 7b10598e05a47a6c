"""Fine-tunes the chosen model with the user's optimizer and loss, and keeps the better of before and after."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict
from itertools import chain, islice, repeat
from typing import Any

import torch
from torch import Tensor, nn

from core.console import say, track
from qat.sensitivity.types import Measured


def recover(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Any], Tensor],
    batches: Iterable[Any],
    steps: int,
    damage: Callable[[], Measured],
    met: Callable[[Measured], bool],
) -> dict[str, Any]:
    """Train `model` in place, with the present setting of its quantizers.

    The model stays in eval mode: BatchNorm statistics and calibrated ranges are fixed, dropout is off. Gradients pass
    quantizers straight through inside their range.

    Args:
        loss: of the model on one batch.
        batches: of the training split; started again when they run out.
        damage: measures the present model on the validation data.

    Returns:
        JSON values: damage before and after, the kept damage, and true if that is within the tolerance.
    """
    before, weights = damage(), copy.deepcopy(model.state_dict())
    again = chain.from_iterable(repeat(batches, steps))  # started again when they run out
    losses = [_step(optimizer, loss, batch) for batch in track(islice(again, steps), "recover", steps)]
    after = damage()
    better = math.isfinite(after.value) and after.value < before.value
    say(f"recover: before {before}, after {after}: {'kept' if better else 'taken back'}")
    if not better:
        model.load_state_dict(weights)
    return {
        "steps": len(losses),
        "first_loss": losses[0] if losses else None,
        "last_loss": losses[-1] if losses else None,
        "before": before.value,
        "after": min(before.value, after.value) if better else before.value,
        "measured_after": asdict(after) if math.isfinite(after.value) else None,
        "kept": better,
        "met": met(after if better else before),
    }


def _step(optimizer: torch.optim.Optimizer, loss: Callable[[Any], Tensor], batch: Any) -> float:
    optimizer.zero_grad()
    value = loss(batch)
    value.backward()
    optimizer.step()
    return float(value.detach())
