"""The report's two charts as inline SVG. Colours come from the page's CSS, so both follow light and dark mode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.table import signed

# Sizes in the SVG's own units, for text of 12.
CHARACTER_WIDTH, LINE_HEIGHT, DOT_RADIUS = 6.6, 15, 7


@dataclass(frozen=True)
class Axis:
    """A linear map from data to SVG coordinates, with ticks at round numbers."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, wanted: int = 7) -> list[float]:
        """Multiples of 1, 2 or 5 times a power of ten within the axis, about `wanted` of them."""
        rough = (self.high - self.low) / wanted
        magnitude = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


@dataclass(frozen=True)
class Point:
    """One engine in the scatter chart; `kind` is its precision and chooses the colour, `group` its backend."""

    x: float
    y: float
    kind: str
    group: str

    @property
    def label(self) -> str:
        return f"{self.group} {self.kind}"


def scatter(points: Sequence[Point], x_title: str, y_title: str, min_y_span: float) -> str:
    """Points with their names; a line leads from each group's first point to its others.

    Args:
        min_y_span: the y axis never shows less than this, so that noise does not look like a difference.
    """
    width, height = 720, 380
    ys = [point.y for point in points]
    middle, span = (min(ys) + max(ys)) / 2, max((max(ys) - min(ys)) * 1.4, min_y_span)
    x_axis = Axis(0, max(point.x for point in points) * 1.2, 60, width - 20)
    y_axis = Axis(middle - span / 2, middle + span / 2, height - 50, 16)
    parts = [_grid(x_axis, y_axis, width, height, x_title, y_title)]
    for group in dict.fromkeys(point.group for point in points):
        first, *others = (point for point in points if point.group == group)
        for other in others:
            ends = f'x1="{x_axis(first.x):.1f}" y1="{y_axis(first.y):.1f}" x2="{x_axis(other.x):.1f}"'
            parts.append(f'<line class="link" {ends} y2="{y_axis(other.y):.1f}"/>')
    labels = _labels([(x_axis(point.x), y_axis(point.y)) for point in points], [point.label for point in points], width)
    for point, (x, y, anchor) in zip(points, labels, strict=True):
        title = f"{point.label}: {point.x:.2f} ms, {point.y:.2f} % mIoU"
        center = f'cx="{x_axis(point.x):.1f}" cy="{y_axis(point.y):.1f}"'
        parts.append(
            f"<g><title>{escape(title)}</title>"
            f'<circle class="dot {escape(point.kind)}" {center} r="{DOT_RADIUS}"/>'
            f'<text class="name" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(point.label)}</text></g>'
        )
    return _svg(width, height, f"{y_title} against {x_title}", parts)


def _grid(x_axis: Axis, y_axis: Axis, width: int, height: int, x_title: str, y_title: str) -> str:
    parts = []
    for tick in x_axis.ticks():
        x = x_axis(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{y_axis.start}" y2="{y_axis.end}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{y_axis.start + 18}" text-anchor="middle">{tick:g}</text>')
    for tick in y_axis.ticks():
        y = y_axis(tick)
        parts.append(f'<line class="grid" x1="{x_axis.start}" x2="{x_axis.end}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{x_axis.start - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    middle_x, middle_y = (x_axis.start + x_axis.end) / 2, (y_axis.start + y_axis.end) / 2
    parts.append(f'<text class="title" x="{middle_x}" y="{height - 8}" text-anchor="middle">{escape(x_title)}</text>')
    turned = f'transform="translate(14 {middle_y}) rotate(-90)"'
    parts.append(f'<text class="title" {turned} text-anchor="middle">{escape(y_title)}</text>')
    return "".join(parts)


Box = tuple[float, float, float, float]  # left, top, right, bottom


def _labels(
    centers: Sequence[tuple[float, float]], texts: Sequence[str], width: float
) -> list[tuple[float, float, str]]:
    """Where each point's text goes, as (x, baseline y, anchor): the first place that covers no point or text."""
    reach = DOT_RADIUS + 2
    taken = [(x - reach, y - reach, x + reach, y + reach) for x, y in centers]
    taken.append((width, -math.inf, math.inf, math.inf))  # what is right of the chart would be cut off
    chosen = []
    for (x, y), text in zip(centers, texts, strict=True):
        places = [
            (x + 12, y + 4, "start"),
            (x - 12, y + 4, "end"),
            (x, y - 14, "middle"),
            (x, y + 23, "middle"),
            (x + 6, y - 26, "start"),
            (x + 6, y + 36, "start"),
        ]
        boxes = [_text_box(*place, text) for place in places]
        free = (index for index, box in enumerate(boxes) if not any(_overlap(box, other) for other in taken))
        index = next(free, 0)
        chosen.append(places[index])
        taken.append(boxes[index])
    return chosen


def _text_box(x: float, y: float, anchor: str, text: str) -> Box:
    width = CHARACTER_WIDTH * len(text)
    left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor] * width
    return left, y - LINE_HEIGHT + 3, left + width, y + 3


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@dataclass(frozen=True)
class Bar:
    """A class and its change; None where the class does not occur."""

    name: str
    change: float | None
    detail: str


def change_bars(bars: Sequence[Bar], limit: float) -> str:
    """Horizontal bars to both sides of zero; `limit` is the change that fills a side, shared by charts side by side."""
    width, row_height, top = 420, 24, 4
    height = top + row_height * len(bars) + 24
    axis = Axis(-limit, limit, 150, width - 46)
    zero = axis(0)
    parts = []
    for tick in axis.ticks(4):
        x = axis(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{height - 24}"/>')
        label = signed(tick).rstrip("0").rstrip(".") if tick else "0"
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - 8}" text-anchor="middle">{label}</text>')
    for index, bar in enumerate(bars):
        y = top + index * row_height
        baseline = f'y="{y + 16}"'
        parts.append(f"<g><title>{escape(bar.detail)}</title>")
        parts.append(f'<text class="name" x="100" {baseline} text-anchor="end">{escape(bar.name)}</text>')
        if bar.change is None:
            parts.append(f'<text class="tick" x="{zero + 6:.1f}" {baseline}>n/a</text></g>')
            continue
        end = axis(max(-limit, min(limit, bar.change)))
        kind, anchor, gap = ("gain", "start", 5) if bar.change >= 0 else ("loss", "end", -5)
        box = f'x="{min(zero, end):.1f}" y="{y + 4}" width="{abs(end - zero):.1f}" height="16"'
        parts.append(f'<rect class="{kind}" {box} rx="2"/>')
        place = f'x="{end + gap:.1f}" {baseline} text-anchor="{anchor}"'
        parts.append(f'<text class="value" {place}>{signed(bar.change)}</text></g>')
    parts.append(f'<line class="zero" x1="{zero:.1f}" x2="{zero:.1f}" y1="{top}" y2="{height - 24}"/>')
    return _svg(width, height, "change of IoU by class, in points", parts)


def _svg(width: int, height: int, what: str, parts: Sequence[str]) -> str:
    head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(what)}">'
    return "".join((head, *parts, "</svg>"))
