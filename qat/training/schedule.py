"""Learning rate as a function of the step."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["poly", "cosine"]


def learning_rate(schedule: Schedule, base: float, step: int, total: int, power: float = 0.9, warmup: int = 0) -> float:
    """Learning rate of `step` (0 .. total-1); both schedules start at `base` and fall towards 0.

    Args:
        power: exponent of "poly" (Liu et al., "ParseNet", 2015; 0.9 since DeepLab).
        warmup: number of first steps, in which the rate rises linearly to `base`; the schedule covers all later steps.
    """
    if step < warmup:
        return base * (step + 1) / (warmup + 1)
    done = (step - warmup) / (total - warmup)
    if schedule == "poly":
        return float(base * (1 - done) ** power)
    return base * (1 + math.cos(math.pi * done)) / 2
