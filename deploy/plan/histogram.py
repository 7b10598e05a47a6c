"""Histograms of |x| that grow with the data and merge exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError

BINS = 2048
LARGEST = 2.0**117  # from here on, a value times BINS overflows float32


class Histogram:
    """Counts of |x| in `BINS` equal bins over [0, limit), limit a power of two.

    When a value reaches the limit, the limit doubles and neighbouring bins are added up. No count is moved to a bin
    that does not hold it, so histograms of any two data sets merge exactly.
    """

    def __init__(self, name: str = "a tensor") -> None:
        """`name` is the tensor's name in errors."""
        self.name = name
        self.counts: NDArray[np.float64] = np.zeros(BINS)
        self.limit = 0.0  # 0 until a non-zero value was seen; zeros are counted apart until then
        self.zeros = 0
        self.amax = 0.0
        self.peaks: list[float] = []  # the largest magnitude of every update, in order

    def update(self, x: Any) -> None:
        """Count every value of `x`, float of any shape.

        Raises:
            UserError: NaN, infinity, or a magnitude of 2^117 or more.
        """
        magnitudes = self.magnitudes(x)
        size = math.prod(magnitudes.shape)
        if not size:
            return
        largest = float(magnitudes.max())
        self._check(largest)
        self.amax = max(self.amax, largest)
        self.peaks.append(largest)
        if largest > 0.0:
            self._cover(largest)
        if self.limit == 0.0:
            self.zeros += size
            return
        self.counts += self.counted(magnitudes)

    def magnitudes(self, x: Any) -> Any:
        """|x| as a flat float32 array."""
        return np.abs(np.asarray(x, np.float32)).reshape(-1)

    def counted(self, magnitudes: Any) -> NDArray[np.float64]:
        """How many of `magnitudes` lie in each bin."""
        bins = (magnitudes * np.float32(BINS / self.limit)).astype(np.int64)
        return np.bincount(bins, minlength=BINS).astype(np.float64)

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
        scaled.counts, scaled.limit, scaled.zeros = other.counts.copy(), other.limit, other.zeros
        scaled._cover(self.limit / 2)
        self.counts += scaled.counts

    @property
    def bin_width(self) -> float:
        """Width of one bin in units of x."""
        return self.limit / BINS

    def _check(self, largest: float) -> None:
        if not math.isfinite(largest):
            raise UserError(f"{self.name} is NaN or infinity on a training image", fix="check the FP32 weights")
        if largest >= LARGEST:
            raise UserError(
                f"{self.name} reaches {largest:.3g} on a training image",
                why="the network diverges there",
                fix="check the FP32 weights and the normalisation (data.mean, data.std)",
            )

    def _cover(self, value: float) -> None:
        """Double the limit until `value` lies below it."""
        needed = 2.0 ** (math.floor(math.log2(value)) + 1)
        if self.limit == 0.0:
            self.limit = needed
        if self.zeros:
            self.counts[0] += self.zeros
            self.zeros = 0
        while self.limit < needed:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2)])
            self.limit *= 2


def merged(histograms: Sequence[Histogram]) -> Histogram:
    """One histogram of all data in `histograms`, which received the updates in turns."""
    total = Histogram()
    for histogram in histograms:
        total.merge(histogram)
    rounds = zip_longest(*(histogram.peaks for histogram in histograms))
    total.peaks = [peak for peaks in rounds for peak in peaks if peak is not None]
    return total
