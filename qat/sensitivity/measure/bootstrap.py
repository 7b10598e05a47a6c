"""Estimates over images, with the number of images."""

from __future__ import annotations

from dataclasses import asdict

from qat.sensitivity.types import Measured
from qat.tasks.bootstrap import Statistic, interval


def measured(statistic: Statistic, images: int, seed: int) -> Measured:
    """A statistic with its 95 % interval; see `qat.tasks.bootstrap.interval`."""
    return Measured(**asdict(interval(statistic, images, seed)), images=images)
