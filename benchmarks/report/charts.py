"""The report's charts as plotly figures, plain JSON. Colours are CSS variables, which the page's script looks up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.record.details import Layer
from benchmarks.record.rows import Point, Row
from benchmarks.record.table import signed
from benchmarks.report.sensitivity import Sensitivity
from core.console import tail

Ious = Mapping[str, float | None]  # IoU, or the metric of another task, by class, percent
Figure = dict[str, Any]  # {"data": [...], "layout": {...}} as Plotly.newPlot takes them

MIN_SPAN = 3.0  # points on the scatter chart's y axis: less would blow up noise
MIN_CHANGE_SPAN = 1.0  # points to each side of the per-class chart
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross")  # one a backend; colours are precisions
SHOWN_LAYERS = 15
MOST_BARS = 60
SHOWN_UNITS = 30
LONGEST_NAME = 36  # characters beside a bar; the hover text has all of it
ROW_PX = 24
LABEL_GAP = {"ticks": "outside", "ticklen": 6, "tickcolor": "rgba(0,0,0,0)"}
COLORS = {"fp32": "var(--fp32)", "int8": "var(--int8)"}
OTHER_COLOR = "var(--half)"


def scatter(rows: Sequence[Row]) -> Figure | None:
    """Latency against accuracy of every measured engine; a line leads from FP32 to the others of its backend."""
    measured = [
        (row.latency_ms.p50, row.score, row) for row in rows if row.latency_ms is not None and row.score is not None
    ]
    if not measured:
        return None
    measured.sort(key=lambda point: point[0])
    symbols = dict(zip(dict.fromkeys(row.engine for *_, row in measured), SYMBOLS, strict=False))
    data: list[dict[str, Any]] = []
    fp32 = {row.backend: (x, y) for x, y, row in measured if row.precision == "fp32"}
    for x, y, row in measured:
        if row.precision != "fp32" and row.backend in fp32:
            start = fp32[row.backend]
            line = {"color": "var(--soft)", "dash": "dot", "width": 1}
            ends = [start[0], x], [start[1], y]
            data.append(_lines(*ends, mode="lines", line=line, hoverinfo="skip", showlegend=False))
    for x, y, row in measured:
        edge = {"width": 2, "color": "var(--card)"}
        marker = {
            "size": 14,
            "symbol": symbols.get(row.engine, SYMBOLS[0]),
            "color": color(row.precision),
            "line": edge,
        }
        hover = f"{row.name}<br>%{{x:.2f}} ms<br>%{{y:.2f}} % {row.metric}<extra></extra>"
        # names are in the legend: beside the points they would overlap where engines are alike
        named = {"name": row.name, "hovertemplate": hover}
        data.append(_lines([x], [y], mode="markers", marker=marker, cliponaxis=False, **named))
    ys = [y for _, y, _ in measured]
    middle, span = (min(ys) + max(ys)) / 2, max((max(ys) - min(ys)) * 1.4, MIN_SPAN)
    values = [middle - span / 2, middle + span / 2]
    return {
        "data": data,
        "layout": {
            "height": 400,
            "showlegend": True,
            "legend": {"orientation": "h", "y": -0.2},
            "xaxis": {"title": {"text": "latency p50, ms"}, "range": [0, measured[-1][0] * 1.15]},
            "yaxis": {"title": {"text": f"{measured[0][2].metric}, %"}, "range": values},
        },
    }


def changes(rows: Sequence[Row]) -> dict[str, Figure]:
    """For each INT8 engine with an FP32 engine beside it: what each class gains or loses, in points."""
    fp32 = {row.backend: row.per_class for row in rows if row.precision == "fp32" and row.per_class}
    pairs = {
        row.name: (fp32[row.backend], row.per_class)
        for row in rows
        if row.precision == "int8" and row.per_class is not None and row.backend in fp32
    }
    deltas = {name: _worth_a_bar(_deltas(before, after)) for name, (before, after) in pairs.items()}
    sizes = [abs(delta) for engine in deltas.values() for delta in engine.values() if delta is not None]
    limit = 1.5 * max([MIN_CHANGE_SPAN, *sizes])
    return {name: _change_bars(*pairs[name], deltas[name], limit) for name in pairs}


def _deltas(before: Ious, after: Ious) -> Ious:
    pairs = {name: (before[name], value) for name, value in after.items()}
    return {name: None if old is None or new is None else new - old for name, (old, new) in pairs.items()}


def _worth_a_bar(deltas: Ious) -> Ious:
    """All classes, or of very many those that changed."""
    return deltas if len(deltas) <= MOST_BARS else {name: delta for name, delta in deltas.items() if delta}


def _change_bars(before: Ious, after: Ious, deltas: Ious, limit: float) -> Figure:
    changed = {name: delta or 0.0 for name, delta in deltas.items()}
    hover = [
        "not in the set" if delta is None else f"{name}: FP32 {before[name]:.2f} %, INT8 {after[name]:.2f} %"
        for name, delta in deltas.items()
    ]
    bars = _bars(changed, ["var(--gain)" if delta >= 0 else "var(--loss)" for delta in changed.values()], hover)
    text = ["n/a" if delta is None else signed(delta) for delta in deltas.values()]
    bars |= {"text": text, "textposition": "outside", "cliponaxis": False}
    return _bar_chart([bars], list(deltas), {"range": [-limit, limit], "zeroline": True, "title": {"text": "points"}})


def slowest_layers(layers: Sequence[Layer]) -> Figure:
    """The layers that take most time, slowest on top, coloured by precision."""
    shown = {f"{layer.name} · {layer.kind}": layer for layer in layers[:SHOWN_LAYERS]}
    data = []
    for precision in dict.fromkeys(layer.precision for layer in shown.values()):
        own = {name: layer.ms for name, layer in shown.items() if layer.precision == precision}
        hover = [f"{name}<br>{ms:.3f} ms, {precision}" for name, ms in own.items()]
        data.append(_bars(own, color(precision), hover) | {"name": precision})
    return _bar_chart(data, list(shown), {"title": {"text": "ms"}, "rangemode": "tozero"})


def curves(points: Sequence[Point], by: str) -> Figure | None:
    """Milliseconds per image of each engine; `by` is "batch", at one size, or "megapixels", at batch 1."""
    found: dict[str, list[Point]] = {}
    for point in points:
        if point.latency_ms is not None:
            found.setdefault(point.name, []).append(point)
    if not found:
        return None
    dashes = dict(zip(dict.fromkeys(point.backend for point in points), ("solid", "dash", "dot"), strict=False))
    data = []
    for name, own in found.items():
        line = {"color": color(own[0].precision), "dash": dashes[own[0].backend], "width": 2}
        hover = [f"{name}<br>{p.batch} × {p.height_px}×{p.width_px}<br>{p.ms_per_image:.2f} ms per image" for p in own]
        shown = {"hovertext": hover, "hoverinfo": "text", "name": name, "line": line, "marker": {"size": 8}}
        xs = [getattr(point, by) for point in own]
        data.append(_lines(xs, [point.ms_per_image for point in own], mode="lines+markers", **shown))
    values = sorted({getattr(point, by) for point in points})
    titles = {"batch": "images at once", "megapixels": "megapixels"}
    x_axis: dict[str, Any] = {"title": {"text": titles[by]}}
    if by == "batch":
        x_axis |= {"type": "log", "tickvals": values, "ticktext": [str(value) for value in values]}
    else:
        x_axis["rangemode"] = "tozero"
    y_axis = {"title": {"text": "ms per image"}, "rangemode": "tozero"}
    return {"data": data, "layout": {"height": 340, "showlegend": True, "xaxis": x_axis, "yaxis": y_axis}}


def damages(found: Sensitivity) -> Figure | None:
    """Damage of the units that were measured, the most harmful on top, with intervals; chosen float units stand out."""
    shown = found.measured[:SHOWN_UNITS]
    if not shown:
        return None
    data: list[dict[str, Any]] = []
    for stays_float, name, fill in ((True, "stays float", "var(--loss)"), (False, "INT8", "var(--int8)")):
        own = {unit.label: damage for unit, damage in shown if unit.float == stays_float}
        above, below = [d.high - d.value for d in own.values()], [d.value - d.low for d in own.values()]
        whiskers: dict[str, Any] = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
        whiskers |= {"color": "var(--ink)", "thickness": 1, "width": 4}
        hover = [f"{u}<br>{d.value:.4g} [{d.low:.4g}, {d.high:.4g}]<br>{d.images} images" for u, d in own.items()]
        bars = _bars({unit: damage.value for unit, damage in own.items()}, fill, hover)
        data += [bars | {"name": name, "error_x": whiskers}] if own else []
    return _bar_chart(data, [unit.label for unit, _ in shown], {"title": {"text": found.damage}, "zeroline": True})


def _bars(values: Mapping[str, float], fill: str | list[str], hover: Sequence[str]) -> dict[str, Any]:
    """A trace of horizontal bars by name."""
    own = {"x": list(values.values()), "y": list(values), "marker": {"color": fill}}
    return {"type": "bar", "orientation": "h", **own, "hovertext": list(hover), "hoverinfo": "text"}


def _bar_chart(data: list[dict[str, Any]], names: Sequence[str], x_axis: dict[str, Any]) -> Figure:
    """Horizontal bars from top to bottom in the order of `names`; a long name is cut in front."""
    order = {"type": "category", "categoryorder": "array", "categoryarray": list(names)}  # "0" is a name, too
    ticks = {"tickmode": "array", "tickvals": list(names), "ticktext": [tail(name, LONGEST_NAME) for name in names]}
    y_axis = {**order, **ticks, "autorange": "reversed", "automargin": True, "showgrid": False, **LABEL_GAP}
    legend = {"barmode": "overlay", "showlegend": len(data) > 1 or "name" in data[0]}
    return {"data": data, "layout": {"height": ROW_PX * len(names) + 90, **legend, "xaxis": x_axis, "yaxis": y_axis}}


def color(precision: str) -> str:
    """CSS variable of a precision."""
    return COLORS.get(precision, OTHER_COLOR)


def _lines(xs: Sequence[float], ys: Sequence[float | None], **how: Any) -> dict[str, Any]:
    return {"type": "scatter", "x": list(xs), "y": list(ys), **how}
