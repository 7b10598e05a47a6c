"""The page's charts, from findings to the bars and planes that core/page/charts.html.j2 draws, and histograms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from core.page.axis import Axis, axis_over
from core.page.bars import Bar
from core.page.plot import Mark, Plot
from qat.sensitivity.decide.pareto import Point
from qat.sensitivity.types import Measured

FLOOR = -6.0  # decimal logarithm of the smallest share that a histogram shows


def bar(name: str, value: Measured, kind: str) -> Bar:
    """A measured value with its interval."""
    return Bar(name, value.value, numbers(value.value, value.low, value.high), value.low, value.high, kind)


def numbers(value: float, low: float, high: float) -> str:
    """A value with its interval as the page writes it."""
    return f"{value:.3g} [{low:.3g}, {high:.3g}]".replace("-", "−") if math.isfinite(value) else "not a number"


def front(points: Sequence[Point], limit: float, chosen: Sequence[str], damage: str) -> Plot:
    """Engines in the plane of latency and damage, numbered as in the table; far intervals end at the frame.

    Args:
        limit: the tolerance; where it is so far away that it would push the points together, only its text says so.
    """
    y_reach = _reach([point.damage for point in points])
    span = max(y_reach) - min(y_reach)
    is_near = min(y_reach) - span <= limit <= max(y_reach) + span
    y = axis_over([*y_reach, limit] if is_near else y_reach)
    arrow = "↑ " if limit > y.high else "↓ " if limit < y.low else ""
    return Plot(
        title=f"{damage} against engine latency",
        x_title="engine latency, ms",
        y_title=damage,
        x=axis_over(_reach([point.latency for point in points])),
        y=y,
        marks=[_mark(number, point, chosen) for number, point in enumerate(points, start=1)],
        limit=limit,
        limit_text=f"{arrow}tolerance {limit:g}",
    )


def _mark(number: int, point: Point, chosen: Sequence[str]) -> Mark:
    picked = sorted(point.float_groups) == sorted(chosen)
    latency, damage = point.latency, point.damage
    text = f"{number}: {latency.value:.4g} ms, {damage.value:.4g}, {len(point.float_groups)} groups in float"
    return Mark(
        latency.value,
        damage.value,
        f"{number} chosen" if picked else str(number),
        "float" if picked else "met" if point.met else "missed",
        "square" if picked else "circle" if point.met else "diamond",
        text,
        (latency.low, latency.high),
        (damage.low, damage.high),
        point.on_front,
    )


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
