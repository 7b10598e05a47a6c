"""Measured engines in the plane of latency and damage; their numbers are those of the table beside it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from qat.sensitivity.decide.pareto import Point
from qat.sensitivity.report.charts import Axis, axis_over, line, svg, text, x_grid

WIDTH, HEIGHT = 900, 420
LEFT, RIGHT, TOP, BOTTOM = 94, WIDTH - 20, 14, HEIGHT - 54
RADIUS, LABEL = 7, (18, 14)  # of a point; width and height of its number
AROUND = [(x * reach, y * reach) for reach in (15, 24, 34, 46) for x, y in ((1, -1), (-1, -1), (1, 1), (-1, 1))]

Place = tuple[float, float]


def front_chart(points: Sequence[Point], chosen: Sequence[str], damage: str, limit: float) -> str:
    """Points numbered from 1 in the order given; a line joins the front, a dashed one is the tolerance.

    Intervals far beyond the points end at the frame, and a tolerance far from them is an arrow there, so that neither
    pushes the points together.

    Args:
        chosen: units in float of the point that stands out.
        damage: title of the vertical axis.
        limit: the tolerance.
    """
    xs = axis_over(_range([(p.latency.low, p.latency.value, p.latency.high) for p in points]), LEFT + 20, RIGHT - 20)
    reach = _range([(p.damage.low, p.damage.value, p.damage.high) for p in points])
    near = reach[0] - _span(reach) <= limit <= reach[-1] + _span(reach)
    ys = axis_over([*reach, limit] if near else reach, BOTTOM - 12, TOP + 12)
    parts = [_frame(xs, ys, damage), _tolerance(ys, limit, near)]
    front = " ".join(f"{xs(p.latency.value):.1f},{ys(p.damage.value):.1f}" for p in points if p.on_front)
    parts.append(f'<polyline class="front" points="{front}"/>')
    parts += [_whiskers(xs, ys, point) for point in points]
    places = [(xs(point.latency.value), ys(point.damage.value)) for point in points]
    for number, (point, place, label) in enumerate(zip(points, places, labels(places), strict=True), start=1):
        parts.append(_marked(number, point, place, label, set(point.float_units) == set(chosen)))
    return svg(WIDTH, HEIGHT, f"{damage} against engine latency", parts)


def labels(points: Sequence[Place]) -> list[Place]:
    """Centres of the points' numbers: the nearest free place around each that hides no point and no other number."""
    found: list[Place] = []
    for x, y in points:
        places = [(x + right, y + down) for right, down in AROUND]
        free = (place for place in places if _is_free(place, points, found))
        found.append(next(free, places[0]))
    return found


def _is_free(place: Place, points: Sequence[Place], taken: Sequence[Place]) -> bool:
    width, height = LABEL
    inside = LEFT + width / 2 <= place[0] <= RIGHT - width / 2 and TOP + height / 2 <= place[1] <= BOTTOM - height / 2
    return (
        inside
        and all(_apart(place, point, width / 2 + RADIUS, height / 2 + RADIUS) for point in points)
        and all(_apart(place, other, width, height) for other in taken)
    )


def _apart(one: Place, other: Place, width: float, height: float) -> bool:
    return abs(one[0] - other[0]) >= width or abs(one[1] - other[1]) >= height


def _range(intervals: Sequence[tuple[float, float, float]]) -> list[float]:
    """The values, and the ends of the intervals no further away than the values are spread, or all if there is one."""
    values = sorted(value for _, value, _ in intervals)
    low, high = min(low for low, _, _ in intervals), max(high for _, _, high in intervals)
    span = _span(values)
    return [max(low, values[0] - span), *values, min(high, values[-1] + span)] if span else [low, *values, high]


def _span(values: Sequence[float]) -> float:
    return values[-1] - values[0]


def _frame(xs: Axis, ys: Axis, damage: str) -> str:
    parts = [x_grid(xs, TOP, BOTTOM), text((LEFT + RIGHT) / 2, HEIGHT - 8, "engine latency, ms", "title", "middle")]
    for tick in ys.ticks(6):
        parts.append(line(LEFT, ys(tick), RIGHT, ys(tick), "grid"))
        parts.append(text(LEFT - 8, ys(tick) + 4, f"{tick:.6g}", "tick", "end"))
    turned = f'transform="translate(14 {(TOP + BOTTOM) / 2}) rotate(-90)"'
    return "".join(parts) + f'<text class="title" {turned} text-anchor="middle">{escape(damage)}</text>'


def _tolerance(ys: Axis, limit: float, near: bool) -> str:
    what = f"tolerance {limit:g}"
    if near:
        return line(LEFT, ys(limit), RIGHT, ys(limit), "limit") + text(RIGHT - 4, ys(limit) - 6, what, "limit", "end")
    above = limit > ys.high
    return text(RIGHT - 4, TOP + 12 if above else BOTTOM - 6, f"{'↑' if above else '↓'} {what}", "limit", "end")


def _whiskers(xs: Axis, ys: Axis, point: Point) -> str:
    x, y = xs(point.latency.value), ys(point.damage.value)
    left, right = (min(max(xs(value), LEFT), RIGHT) for value in (point.latency.low, point.latency.high))
    low, high = (min(max(ys(value), TOP), BOTTOM) for value in (point.damage.low, point.damage.high))
    return line(left, y, right, y, "whisker thin") + line(x, low, x, high, "whisker thin")


def _marked(number: int, point: Point, place: Place, label: Place, chosen: bool) -> str:
    kind = "picked" if chosen else "met" if point.met else "missed"
    names = ", ".join(point.float_units) or "all INT8"
    tip = f"{number}: {names}: {point.latency.value:.2f} ms, {point.damage.value:.4g}"
    joint = line(*place, *label, "joint") if abs(label[0] - place[0]) > AROUND[0][0] else ""
    radius = RADIUS + 2 if chosen else RADIUS
    circle = f'<circle class="{kind}" cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="{radius}"/>'
    written = text(label[0], label[1] + 5, str(number), "number", "middle")
    return f"<g><title>{escape(tip)}</title>{joint}{circle}{written}</g>"
