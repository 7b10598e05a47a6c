"""Positions of bars, histograms and the engines' front in percent of their frame; report.html.j2 draws them.

plotly, which benchmarks/ uses, is a script of 4.8 MB; these pages stay small enough to mail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from qat.sensitivity.decide.pareto import Point

FLOOR = -6.0  # decimal logarithm of the smallest share that a histogram shows


@dataclass(frozen=True)
class Axis:
    """A linear map from `low` … `high` to 0 … 100 %, with ticks at round numbers."""

    low: float
    high: float

    def __call__(self, value: float) -> float:
        """Percent; values beyond the ends are at the ends."""
        return round(100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low), 2)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Multiples of 1, 2 or 5 times a power of ten, about `wanted` of them."""
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


@dataclass(frozen=True)
class Bar:
    """One row: a value, its interval if it has one, the CSS class of its colour, and a remark behind the numbers."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    kind: str = "int8"
    remark: str = ""

    @property
    def text(self) -> str:
        """The numbers as they are written beside the bar."""
        interval = "" if self.low is None else f" [{self.low:.3g}, {self.high:.3g}]"
        return (f"{self.value:.3g}{interval}" if math.isfinite(self.value) else "not a number") + self.remark


@dataclass(frozen=True)
class Chart:
    """Horizontal bars from zero, in the order given; whiskers are the intervals, a dashed line is `limit`.

    Attributes:
        scale: further numbers that the axis has room for, so that two charts compare.
    """

    title: str
    rows: Sequence[Bar]
    limit: float | None = None
    scale: Sequence[float] = ()

    @property
    def axis(self) -> Axis:
        """Shows every bar, whisker and limit, and zero."""
        ends = [value for row in self.rows for value in (row.value, row.low, row.high)]
        return axis_over([*ends, self.limit, 0.0, *self.scale])


@dataclass(frozen=True)
class Front:
    """Engines in the plane of latency and damage; intervals far beyond the points end at the frame."""

    points: Sequence[Point]
    limit: float

    @property
    def x(self) -> Axis:
        """Latency, ms."""
        return axis_over(_reach([point.latency for point in self.points]))

    @property
    def y(self) -> Axis:
        """Damage, with the tolerance unless it is so far away that it would push the points together."""
        reach = _reach([point.damage for point in self.points])
        span = max(reach) - min(reach)
        near = min(reach) - span <= self.limit <= max(reach) + span
        return axis_over([*reach, self.limit] if near else reach)


def _reach(intervals: Sequence[Any]) -> list[float]:
    """The values, and the ends of the intervals no further away than the values are spread, or all if there is one."""
    values = [item.value for item in intervals]
    span = max(values) - min(values) or math.inf
    low, high = min(item.low for item in intervals), max(item.high for item in intervals)
    return [*values, max(low, min(values) - span), min(high, max(values) + span)]


def histogram(item: dict[str, Any]) -> tuple[Axis, list[tuple[float, float, float]]]:
    """The axis of one quantizer's values, and of each bin left end, width and height: the logarithm of its share."""
    axis = axis_over([item["low"], item["high"], item["amax"], None if item["amax"] is None else -item["amax"]])
    step = (item["high"] - item["low"]) / len(item["shares"])
    bins = []
    for index, share in enumerate(item["shares"]):
        left = axis(item["low"] + index * step)
        height = 1 - math.log10(max(share, 10**FLOOR)) / FLOOR
        bins.append((left, 0.85 * (axis(item["low"] + (index + 1) * step) - left), 100 * height))
    return axis, bins
