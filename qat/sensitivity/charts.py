"""The report's charts as inline SVG; colours and fonts come from the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from qat.sensitivity.pareto import Point

ROW, LABEL_WIDTH, WIDTH = 22, 230, 900


@dataclass(frozen=True)
class Axis:
    """A linear map from data to SVG coordinates, with ticks at round numbers."""

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
    """An axis that shows all of `values` with a margin."""
    low, high = min(values), max(values)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high == 0:
        return Axis(0.0, 1.0, start, end)
    margin = (high - low) * 0.06 or max(abs(high), 1.0) * 0.1
    return Axis(low if zero and low == 0 else low - margin, high if zero and high == 0 else high + margin, start, end)


@dataclass(frozen=True)
class Bar:
    """One row: a value, its interval if it has one, and the CSS class of its colour."""

    name: str
    value: float
    low: float | None
    high: float | None
    kind: str


def bars(rows: Sequence[Bar], title: str, width: int = WIDTH) -> str:
    """Horizontal bars from zero, in the order given; whiskers are the intervals."""
    height = ROW * len(rows) + 48
    ends = [value for row in rows for value in (row.value, row.low, row.high) if value is not None]
    axis = axis_over(ends, LABEL_WIDTH, width - 70, zero=True)
    parts = [_x_grid(axis, 0, height - 44), _x_title(axis, height, title)]
    for index, row in enumerate(rows):
        top, zero, end = index * ROW + 4, axis(0), axis(row.value)
        middle = top + 7.5
        interval = "" if row.low is None else f" [{row.low:.4g}, {row.high:.4g}]"
        parts.append(f"<g><title>{escape(row.name)}: {row.value:.4g}{interval}</title>")
        parts.append(_text(LABEL_WIDTH - 10, middle + 4, _short(row.name), "name", "end"))
        box = f'x="{min(zero, end):.1f}" y="{top}" width="{max(abs(end - zero), 0.5):.1f}" height="15" rx="2"'
        parts.append(f'<rect class="{row.kind}" {box}/>')
        right = max(end, zero)
        if row.low is not None and row.high is not None:
            low, high = axis(row.low), axis(row.high)
            parts.append(_line(low, middle, high, middle, "whisker"))
            parts += [_line(x, middle - 4, x, middle + 4, "whisker") for x in (low, high)]
            right = max(right, high)
        parts.append(_text(right + 6, middle + 4, f"{row.value:.3g}", "value") + "</g>")
    parts.append(_line(axis(0), 0, axis(0), height - 44, "zero"))
    return _svg(width, height, title, parts)


def scatter(points: Sequence[Point], chosen: Sequence[str], x_title: str, y_title: str, limit: float | None) -> str:
    """Measured engines; a line joins the front, a dashed one is the tolerance. Long intervals end at the frame."""
    width, height = WIDTH, 380
    ys = [v for p in points for v in (p.damage.low, p.damage.high, p.damage.value)]
    ys += [] if limit is None else [limit]
    x_axis = axis_over([point.latency.value for point in points], 110, width - 90)
    y_axis = axis_over(ys, height - 54, 14)
    parts = [_x_grid(x_axis, 14, height - 54), _x_title(x_axis, height, x_title)]
    for tick in y_axis.ticks(6):
        parts.append(_line(80, y_axis(tick), width - 30, y_axis(tick), "grid"))
        parts.append(_text(72, y_axis(tick) + 4, f"{tick:.6g}", "tick", "end"))
    turned = f'transform="translate(16 {(height - 40) / 2}) rotate(-90)"'
    parts.append(f'<text class="title" {turned} text-anchor="middle">{escape(y_title)}</text>')
    if limit is not None:
        parts.append(_line(80, y_axis(limit), width - 30, y_axis(limit), "limit"))
        parts.append(_text(width - 32, y_axis(limit) - 6, "tolerance", "tick", "end"))
    front = [point for point in points if point.on_front]
    path = " ".join(f"{x_axis(point.latency.value):.1f},{y_axis(point.damage.value):.1f}" for point in front)
    parts.append(f'<polyline class="front" points="{path}"/>')
    for index, point in enumerate(points):
        x, y = x_axis(point.latency.value), y_axis(point.damage.value)
        name = f"{len(point.float_units)} float" if point.float_units else "all INT8"
        kind = "picked" if set(point.float_units) == set(chosen) else "met" if point.met else "missed"
        tip = f"{', '.join(point.float_units) or 'all INT8'}: {point.latency.value:.2f} ms, {point.damage.value:.4g}"
        parts.append(f"<g><title>{escape(tip)}</title>")
        parts.append(_line(x, y_axis(point.damage.low), x, y_axis(point.damage.high), "whisker"))
        left, right = (min(max(x_axis(value), 80), width - 30) for value in (point.latency.low, point.latency.high))
        parts.append(_line(left, y, right, y, "whisker"))
        label = _text(x + 11, y + (20 if index % 2 else -9), name, "name")
        parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="7"/>{label}</g>')
    return _svg(width, height, f"{y_title} against {x_title}", parts)


def histogram(item: dict[str, Any]) -> str:
    """Shares of the values of one quantizer on a logarithmic axis; dashed lines are ±amax."""
    width, height, floor = 280, 130, -6.0
    limits = [item["low"], item["high"], *([] if item["amax"] is None else [item["amax"], -item["amax"]])]
    axis = axis_over(limits, 10, width - 10)
    step = (item["high"] - item["low"]) / len(item["shares"])
    parts = [_x_grid(axis, 4, height - 24, wanted=4)]
    for index, share in enumerate(item["shares"]):
        if share > 0:
            top = height - 24 - (max(math.log10(share), floor) - floor) / -floor * (height - 32)
            left, right = axis(item["low"] + index * step), axis(item["low"] + (index + 1) * step)
            place, wide, high = f'x="{left:.1f}" y="{top:.1f}"', max(right - left - 0.4, 0.4), height - 24 - top
            parts.append(f'<rect class="int8" {place} width="{wide:.1f}" height="{high:.1f}"/>')
    if item["amax"] is not None:
        parts += [_line(axis(x), 4, axis(x), height - 24, "limit") for x in (-item["amax"], item["amax"])]
    return _svg(width, height, f"values at {item['quantizer']}", parts)


def _x_grid(axis: Axis, top: float, bottom: float, wanted: int = 8) -> str:
    return "".join(
        _line(axis(tick), top, axis(tick), bottom, "grid")
        + _text(axis(tick), bottom + 17, f"{tick:.6g}", "tick", "middle")
        for tick in axis.ticks(wanted)
    )


def _x_title(axis: Axis, height: float, title: str) -> str:
    return _text((axis.start + axis.end) / 2, height - 8, title, "title", "middle")


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _short(name: str, limit: int = 32) -> str:
    return name if len(name) <= limit else f"…{name[1 - limit :]}"


def _svg(width: int, height: int, what: str, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(what)}">{"".join(parts)}</svg>'
