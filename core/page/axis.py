"""An axis: values to percent of a frame, and its ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Axis:
    """A map from `low` … `high` to 0 … 100 %, with ticks at round numbers.

    Attributes:
        at: ticks in their place.
        log: logarithmic; both ends are above zero.
    """

    low: float
    high: float
    at: Sequence[float] = ()
    log: bool = False

    def __call__(self, value: float) -> float:
        """Percent; values beyond the ends are at the ends."""
        low, high, inside = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, inside = math.log(low), math.log(high), math.log(inside)
        return round(100 * (inside - low) / (high - low), 2)

    def ticks(self, wanted: int = 5) -> Sequence[float]:
        """Multiples of 1, 2 or 5 times a power of ten, about `wanted` of them."""
        if self.at:
            return self.at
        rough = (self.high - self.low) / wanted
        magnitude = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]

    def span(self, kind: str, one: float | None, other: float | None) -> Markup:
        """A horizontal element of a CSS class between two values; nothing where one is missing."""
        if one is None or other is None or not (math.isfinite(one) and math.isfinite(other)):
            return Markup()
        left, right = sorted((self(one), self(other)))
        return Markup('<i class="{}" style="left:{}%;width:{:.2f}%"></i>').format(kind, left, right - left)


def axis_over(values: Sequence[float | None]) -> Axis:
    """An axis that shows all of `values` that are finite, with a margin at ends other than zero."""
    shown = [value for value in values if value is not None and math.isfinite(value)] or [0.0]
    low, high = min(shown), max(shown)
    if low == high == 0:
        return Axis(0.0, 1.0)
    margin = (high - low) * 0.06 or max(abs(high), 1.0) * 0.1
    return Axis(low - margin if low else low, high + margin if high else high)
