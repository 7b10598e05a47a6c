"""Histograms of |x| that grow with the data and merge exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from core.errors import UserError

BINS = 2048
CHUNK = 1 << 24  # torch.histc counts in float32, which holds every integer up to here and no further
LARGEST = 2.0**117  # from here on, torch.histc's value times BINS overflows float32


class Histogram:
    """Counts of |x| in `BINS` equal bins over [0, limit), limit a power of two.

    When a value reaches the limit, the limit doubles and neighbouring bins are added up, so no count is ever moved to
    a bin that does not hold it, and histograms of any two data sets can be merged exactly.
    """

    def __init__(self, name: str = "a tensor") -> None:
        """`name` is what errors call the tensor."""
        self.name = name
        self.counts = torch.zeros(BINS, dtype=torch.float64)
        self.limit = 0.0  # 0 until a non-zero value was seen; zeros are counted apart until then
        self.zeros = 0
        self.amax = 0.0
        self.peaks: list[float] = []  # the largest magnitude of every update, in their order

    def update(self, x: Tensor) -> None:
        """Count every value of `x` (float, any shape).

        Raises:
            UserError: NaN, infinity, or a magnitude of 2^117 or more.
        """
        magnitudes = x.detach().abs().float().reshape(-1)
        if not magnitudes.numel():
            return
        largest = float(magnitudes.max())
        if not math.isfinite(largest):
            raise UserError(f"{self.name} is NaN or infinity on a training image", fix="check the FP32 weights")
        if largest >= LARGEST:
            raise UserError(
                f"{self.name} reaches {largest:.3g} on a training image",
                why="the network diverges there",
                fix="check the FP32 weights and the normalisation (data.mean, data.std)",
            )
        self.amax = max(self.amax, largest)
        self.peaks.append(largest)
        if largest > 0.0:
            self._cover(largest)
        if self.limit == 0.0:
            self.zeros += magnitudes.numel()
            return
        for chunk in magnitudes.split(CHUNK):
            self.counts += torch.histc(chunk, BINS, 0.0, self.limit).double().cpu()

    def merge(self, other: Histogram) -> None:
        """Add the counts of `other`, as if this histogram had seen its data too."""
        self.amax = max(self.amax, other.amax)
        self.peaks += other.peaks
        if other.limit > 0.0:
            self._cover(other.limit / 2)
        if self.limit == 0.0:
            self.zeros += other.zeros
            return
        scaled = Histogram()
        scaled.load_state_dict(other.state_dict())
        scaled._cover(self.limit / 2)
        self.counts += scaled.counts

    @property
    def bin_width(self) -> float:
        """Width of one bin in units of x."""
        return self.limit / BINS

    def state_dict(self) -> dict[str, Any]:
        """Everything, as tensors and numbers."""
        numbers = {"limit": self.limit, "zeros": self.zeros, "amax": self.amax, "peaks": list(self.peaks)}
        return {"counts": self.counts.clone(), **numbers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.counts = state["counts"].clone()
        self.limit, self.zeros, self.amax = state["limit"], state["zeros"], state["amax"]
        self.peaks = list(state["peaks"])

    def _cover(self, value: float) -> None:
        """Double the limit until `value` lies below it (histc counts a value at the limit in the last bin)."""
        needed = 2.0 ** (math.floor(math.log2(value)) + 1)
        if self.limit == 0.0:
            self.limit = needed
        if self.zeros:
            self.counts[0] += self.zeros
            self.zeros = 0
        while self.limit < needed:
            self.counts = torch.cat([self.counts.reshape(-1, 2).sum(1), torch.zeros(BINS // 2, dtype=torch.float64)])
            self.limit *= 2


def merged(histograms: Sequence[Histogram]) -> Histogram:
    """One histogram of everything that `histograms` have seen, which took the updates in turns."""
    total = Histogram()
    for histogram in histograms:
        total.merge(histogram)
    rounds = zip_longest(*(histogram.peaks for histogram in histograms))
    total.peaks = [peak for peaks in rounds for peak in peaks if peak is not None]
    return total
