"""The report's charts, from results to the bars and planes that core/page/charts.html.j2 draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from benchmarks.record.details import Layer
from benchmarks.record.rows import Point, Row, find_row
from benchmarks.report.sensitivity import Sensitivity
from core.interval import signed
from core.page.axis import Axis
from core.page.bars import Bar, Bars
from core.page.plot import SHAPES, Line, Mark, Plot

MIN_SPAN = 3.0  # points on the scatter chart's y axis: less would blow up noise
MIN_CHANGE_SPAN = 1.0  # points to each side of the per-class chart
DASHES = ("", "7 4", "2 3", "8 3 2 3", "1 4")  # one a backend
SHOWN_LAYERS = 15
MOST_BARS = 60
SHOWN_GROUPS = 30


def kind(precision: str) -> str:
    """CSS class of a precision's colour."""
    return precision if precision in ("fp32", "int8") else "half"


def scatter(rows: Sequence[Row]) -> Plot | None:
    """Latency against accuracy of every measured engine; a line leads from FP32 to the others of its backend."""
    measured = [
        (row.latency_ms.p50, row.score, row) for row in rows if row.latency_ms is not None and row.score is not None
    ]
    if not measured:
        return None
    measured.sort(key=lambda point: point[0])
    shapes = dict(zip(dict.fromkeys(row.engine for *_, row in measured), SHAPES, strict=False))
    metric = measured[0][2].metric
    marks, lines = [], []
    fp32 = {row.backend: (x, y) for x, y, row in measured if row.precision == "fp32"}
    for x, y, row in measured:
        if row.precision != "fp32" and row.backend in fp32:
            lines.append(Line((fp32[row.backend], (x, y)), dash="2 4"))
        name = f"{row.engine} {row.tool or row.precision.upper()}"
        shape = shapes.get(row.engine, "circle")
        marks.append(Mark(x, y, name, kind(row.precision), shape, f"{name}: {x:.2f} ms, {y:.2f} % {metric}"))
    ys = [y for _, y, _ in measured]
    middle, span = (min(ys) + max(ys)) / 2, max((max(ys) - min(ys)) * 1.4, MIN_SPAN)
    return Plot(
        title=f"Latency against {metric}",
        x_title="latency p50, ms",
        y_title=f"{metric}, %",
        x=Axis(0, measured[-1][0] * 1.15),
        y=Axis(middle - span / 2, middle + span / 2),
        marks=marks,
        lines=lines,
    )


def changes(rows: Sequence[Row]) -> dict[str, Bars]:
    """By INT8 engine with an FP32 engine beside it: the points that each class gains or loses."""
    found: dict[str, list[Bar]] = {}
    for row in rows:
        base = find_row(rows, row.backend, "fp32")
        if row.precision == "int8" and row.per_class is not None and base is not None and base.per_class is not None:
            found[row.name] = _class_bars(base.per_class, row.per_class)
    sizes = [abs(bar.value) for bars in found.values() for bar in bars if math.isfinite(bar.value)]
    limit = max([MIN_CHANGE_SPAN, *sizes])
    return {name: Bars("points", bars, scale=(-limit, limit)) for name, bars in found.items()}


def _class_bars(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> list[Bar]:
    """All classes; only the changed classes where there are very many."""
    bars = []
    for name, new in after.items():
        old = before[name]
        if old is None or new is None:
            bars.append(Bar(name, math.nan, "n/a", hover="not in the set"))
            continue
        colour = "gain" if new >= old else "loss"
        bars.append(Bar(name, new - old, signed(new - old), kind=colour, hover=f"FP32 {old:.2f} %, INT8 {new:.2f} %"))
    return bars if len(bars) <= MOST_BARS else [bar for bar in bars if bar.value]


def slowest_layers(layers: Sequence[Layer]) -> Bars:
    """Shares of the engine's time of the layers that take most, slowest on top, in the colour of their precision."""
    total = sum(layer.ms for layer in layers) or 1.0
    bars = []
    for layer in layers[:SHOWN_LAYERS]:
        share = 100 * layer.ms / total
        text = f"{share:.1f} % {layer.precision.upper()}"
        hover = f"{layer.name}, {layer.kind}: {layer.ms:.3f} ms"
        bars.append(Bar(layer_name(layer), share, text, kind=kind(layer.precision), hover=hover))
    return Bars("share of the time of all layers, %", bars)


def layer_name(layer: Layer) -> str:
    """The network's own name of the module in it, and how many more there are; the engine's name where it has none."""
    if not layer.modules:
        return f"{layer.name} ({layer.kind})"
    first, *others = layer.modules
    return f"{first} +{len(others)}" if others else first


def curves(points: Sequence[Point], by: str) -> Plot | None:
    """Milliseconds per image of each engine; `by` is "batch", at one size, or "megapixels", at batch 1."""
    found: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        if point.ms_per_image is not None:
            found.setdefault(point.name, []).append((getattr(point, by), point.ms_per_image))
    if not found:
        return None
    first = {point.name: point for point in reversed(points)}
    dashes = dict(zip(dict.fromkeys(point.backend for point in points), DASHES, strict=False))
    shapes = dict(zip(dashes, SHAPES, strict=False))
    unit = "image(s) at once" if by == "batch" else "megapixels"
    marks, lines = [], []
    for name, own in found.items():
        point = first[name]
        lines.append(Line(own, kind(point.precision), dashes.get(point.backend, "")))
        for x, y in own:
            label = f"{point.engine} {point.precision.upper()}" if (x, y) == own[-1] else ""
            text = f"{name}, {x:g} {unit}: {y:.2f} ms per image"
            marks.append(Mark(x, y, label, kind(point.precision), shapes.get(point.backend, "circle"), text))
    xs = sorted({float(getattr(point, by)) for point in points})
    log = by == "batch" and len(xs) > 1
    return Plot(
        title=f"Milliseconds per image over {'the batch size' if by == 'batch' else 'the resolution'}",
        x_title="images at once" if by == "batch" else "megapixels",
        y_title="ms per image",
        x=Axis(xs[0] / 1.2, xs[-1], at=xs, log=True) if log else Axis(0, xs[-1]),
        y=Axis(0, 1.08 * max(y for own in found.values() for _, y in own)),
        marks=marks,
        lines=lines,
        beside=True,
    )


def damages(found: Sensitivity) -> Bars | None:
    """Damage of the groups that were measured, the most harmful on top; those chosen to stay float stand out."""
    bars = []
    for group, damage in found.measured[:SHOWN_GROUPS]:
        text = f"{damage.value:.3g} [{damage.low:.3g}, {damage.high:.3g}]".replace("-", "−")
        hover = f"{', '.join(group.layers)}; {damage.images} images"
        colour = "float" if group.float else "int8"
        bars.append(Bar(group.label, damage.value, text, damage.low, damage.high, colour, hover))
    return Bars(found.damage, bars) if bars else None
