"""The report's charts as inline HTML and SVG; colours and fonts come from the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

UNBROKEN = 26  # characters of a name that fit in one line


@dataclass(frozen=True)
class Axis:
    """A linear map from data to coordinates, with ticks at round numbers."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, wanted: int) -> list[float]:
        """Multiples of 1, 2 or 5 times a power of ten, about `wanted` of them."""
        rough = (self.high - self.low) / wanted
        magnitude = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def axis_over(values: Sequence[float], start: float, end: float, zero: bool = False) -> Axis:
    """An axis that shows all of `values` that are finite, with a margin."""
    shown = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(shown), max(shown)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high == 0:
        return Axis(0.0, 1.0, start, end)
    margin = (high - low) * 0.06 or max(abs(high), 1.0) * 0.1
    return Axis(low if zero and low == 0 else low - margin, high if zero and high == 0 else high + margin, start, end)


@dataclass(frozen=True)
class Bar:
    """One row: a value, its interval if it has one, the CSS class of its colour, and what stands behind the numbers."""

    name: str
    value: float
    low: float | None
    high: float | None
    kind: str
    remark: str = ""

    @property
    def text(self) -> str:
        """The numbers as they are written beside the bar."""
        if not math.isfinite(self.value):
            return f"not a number{self.remark}"
        interval = "" if self.low is None else f" [{self.low:.3g}, {self.high:.3g}]"
        return f"{self.value:.3g}{interval}{self.remark}"


def bars(rows: Sequence[Bar], title: str, limit: float | None = None, scale: Sequence[float] = ()) -> str:
    """Horizontal bars from zero, in the order given; whiskers are the intervals, a dashed line is `limit`.

    Elements with positions in percent, so that names and numbers keep their size on a narrow page.

    Args:
        scale: further numbers that the axis has room for, so that two charts compare.
    """
    ends = [value for row in rows for value in (row.value, row.low, row.high, limit) if value is not None]
    ends += scale
    axis = axis_over(ends, 0, 100, zero=True)
    marks = "".join(f'<i style="left:{axis(tick):.2f}%"></i>' for tick in axis.ticks(5))
    marks += "".join(f'<b style="left:{axis(tick):.2f}%">{tick:.6g}</b>' for tick in axis.ticks(5))
    marks += f'<i class="zero" style="left:{axis(0):.2f}%"></i>'
    marks += "" if limit is None else f'<i class="limit" style="left:{axis(limit):.2f}%"></i>'
    parts = [f'<div class="ticks">{marks}</div>']
    for place, row in enumerate(rows, start=1):
        drawn = _spanned("bar " + row.kind, axis, 0.0, row.value) + _spanned("whisker", axis, row.low, row.high)
        parts.append(
            f'<div class="row" style="--row:{place}"><span class="name">{_breakable(row.name)}</span>'
            f'<span class="track">{drawn}</span><span class="value">{escape(row.text)}</span></div>'
        )
    return (
        f'<div class="bars" role="img" aria-label="{escape(title)}" style="--rows:{len(rows)}">{"".join(parts)}</div>'
        f'<p class="title">{escape(title)}</p>'
    )


def _breakable(name: str) -> str:
    """The name with places where a line may end if it does not fit."""
    return escape(name) if len(name) <= UNBROKEN else escape(name).replace(".", ".<wbr>").replace("_", "_<wbr>")


def _spanned(kind: str, axis: Axis, one: float | None, other: float | None) -> str:
    if one is None or other is None or not (math.isfinite(one) and math.isfinite(other)):
        return ""
    left, right = sorted((axis(one), axis(other)))
    return f'<i class="{kind}" style="left:{left:.2f}%;width:{right - left:.2f}%"></i>'


def histogram(item: dict[str, Any]) -> str:
    """Shares of the values of one quantizer on a logarithmic axis; dashed lines are ±amax."""
    width, height, floor = 280, 130, -6.0
    limits = [item["low"], item["high"], *([] if item["amax"] is None else [item["amax"], -item["amax"]])]
    axis = axis_over(limits, 10, width - 10)
    step = (item["high"] - item["low"]) / len(item["shares"])
    parts = [x_grid(axis, 4, height - 24, wanted=4)]
    for index, share in enumerate(item["shares"]):
        if share > 0:
            top = height - 24 - (max(math.log10(share), floor) - floor) / -floor * (height - 32)
            left, right = axis(item["low"] + index * step), axis(item["low"] + (index + 1) * step)
            place, wide, high = f'x="{left:.1f}" y="{top:.1f}"', 0.85 * (right - left), height - 24 - top
            parts.append(f'<rect class="int8" {place} width="{wide:.1f}" height="{high:.1f}"/>')
    if item["amax"] is not None:
        parts += [line(axis(x), 4, axis(x), height - 24, "limit") for x in (-item["amax"], item["amax"])]
    return svg(width, height, f"values at {item['quantizer']}", parts)


def x_grid(axis: Axis, top: float, bottom: float, wanted: int = 8) -> str:
    """Vertical lines with their numbers below."""
    return "".join(
        line(axis(tick), top, axis(tick), bottom, "grid")
        + text(axis(tick), bottom + 17, f"{tick:.6g}", "tick", "middle")
        for tick in axis.ticks(wanted)
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """An SVG line of a CSS class."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(x: float, y: float, content: str, kind: str, anchor: str = "start") -> str:
    """An SVG text of a CSS class."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'


def svg(width: int, height: int, what: str, parts: Sequence[str]) -> str:
    """The drawing around `parts`; `what` is told to screen readers."""
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(what)}">{"".join(parts)}</svg>'
