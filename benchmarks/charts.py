"""The report's charts as plotly figures, plain JSON. Colours are CSS variables, which the page's script looks up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import curve
from benchmarks.curve import Point
from benchmarks.results import LayerCost, Row
from benchmarks.sensitivity_section import Sensitivity
from benchmarks.table import signed
from core.console import tail

Figure = dict[str, Any]  # {"data": [...], "layout": {...}} as Plotly.newPlot takes them

MIN_MIOU_SPAN = 3.0  # points on the scatter chart's y axis: less would blow up noise
MIN_CHANGE_SPAN = 1.0  # points to each side of the per-class chart
SHOWN_LAYERS = 15
SHOWN_UNITS = 30
LONGEST_NAME = 36  # characters beside a bar; the hover text has all of it
ROW_PX = 24
LABEL_GAP = {"ticks": "outside", "ticklen": 6, "tickcolor": "rgba(0,0,0,0)"}
COLORS = {"fp32": "var(--fp32)", "int8": "var(--int8)"}
OTHER_COLOR = "var(--half)"


def scatter(rows: Sequence[Row]) -> Figure | None:
    """Latency against mIoU of every measured engine; a line leads from FP32 to the others of its backend."""
    measured = [
        (row.latency_ms.p50, row.miou, row) for row in rows if row.latency_ms is not None and row.miou is not None
    ]
    if not measured:
        return None
    measured.sort(key=lambda point: point[0])
    places = {point[2].name: "top center" if index % 2 else "bottom center" for index, point in enumerate(measured)}
    data: list[dict[str, Any]] = []
    fp32 = {row.backend: (x, y) for x, y, row in measured if row.precision == "fp32"}
    for x, y, row in measured:
        if row.precision != "fp32" and row.backend in fp32:
            start = fp32[row.backend]
            line = {"color": "var(--soft)", "dash": "dot", "width": 1}
            data.append(_lines([start[0], x], [start[1], y], mode="lines", line=line, hoverinfo="skip"))
    for x, y, row in measured:
        marker = {"size": 14, "color": color(row.precision), "line": {"width": 2, "color": "var(--card)"}}
        hover = f"{row.name}<br>%{{x:.2f}} ms<br>%{{y:.2f}} % mIoU<extra></extra>"
        labelled = {"text": [row.name], "textposition": places[row.name], "hovertemplate": hover}
        data.append(_lines([x], [y], mode="markers+text", marker=marker, cliponaxis=False, **labelled))
    ys = [y for _, y, _ in measured]
    middle, span = (min(ys) + max(ys)) / 2, max((max(ys) - min(ys)) * 1.4, MIN_MIOU_SPAN)
    return {
        "data": data,
        "layout": {
            "height": 400,
            "showlegend": False,
            "xaxis": {"title": {"text": "latency p50, ms"}, "range": [0, measured[-1][0] * 1.15]},
            "yaxis": {"title": {"text": "mIoU, %"}, "range": [middle - span / 2, middle + span / 2]},
        },
    }


def changes(rows: Sequence[Row]) -> dict[str, Figure]:
    """For each INT8 engine with an FP32 engine beside it: IoU gained or lost by class, in points."""
    fp32 = {row.backend: row.per_class_iou for row in rows if row.precision == "fp32" and row.per_class_iou}
    pairs = {
        row.name: (fp32[row.backend], row.per_class_iou)
        for row in rows
        if row.precision == "int8" and row.per_class_iou is not None and row.backend in fp32
    }
    deltas = {name: _deltas(before, after) for name, (before, after) in pairs.items()}
    sizes = [abs(delta) for engine in deltas.values() for delta in engine.values() if delta is not None]
    limit = 1.5 * max([MIN_CHANGE_SPAN, *sizes])
    return {name: _change_bars(*pairs[name], deltas[name], limit) for name in pairs}


def _deltas(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> dict[str, float | None]:
    found = {}
    for name, value in after.items():
        reference = before[name]
        found[name] = None if value is None or reference is None else value - reference
    return found


def _change_bars(
    before: Mapping[str, float | None],
    after: Mapping[str, float | None],
    deltas: Mapping[str, float | None],
    limit: float,
) -> Figure:
    known = {name: delta for name, delta in deltas.items() if delta is not None}
    details = [f"{name}: FP32 {before[name]:.2f} %, INT8 {after[name]:.2f} %" for name in known]
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": [known.get(name, 0.0) for name in deltas],
        "y": list(deltas),
        "text": ["n/a" if delta is None else signed(delta) for delta in deltas.values()],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": ["var(--gain)" if (delta or 0) >= 0 else "var(--loss)" for delta in deltas.values()]},
        "hovertext": [next((d for d in details if d.startswith(f"{name}: ")), "not in the set") for name in deltas],
        "hoverinfo": "text",
    }
    layout = {
        "height": ROW_PX * len(deltas) + 70,
        "xaxis": {"range": [-limit, limit], "zeroline": True, "title": {"text": "points"}},
        "yaxis": {"autorange": "reversed", "automargin": True, "showgrid": False, **LABEL_GAP},
    }
    return {"data": [bars], "layout": layout}


def slowest_layers(layers: Sequence[LayerCost]) -> Figure:
    """The layers that take most time, slowest on top, coloured by what they compute in."""
    shown = layers[:SHOWN_LAYERS]
    names = [f"{layer.name} · {layer.kind}" for layer in shown]
    data = []
    for precision in dict.fromkeys(layer.precision for layer in shown):
        own = [(name, layer.ms) for name, layer in zip(names, shown, strict=True) if layer.precision == precision]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": precision,
                "y": [name for name, _ in own],
                "x": [ms for _, ms in own],
                "marker": {"color": color(precision)},
                "hovertemplate": "%{y}<br>%{x:.3f} ms<extra>" + precision + "</extra>",
            }
        )
    order = {"categoryorder": "array", "categoryarray": names, "autorange": "reversed", "automargin": True}
    layout = {
        "height": ROW_PX * len(shown) + 90,
        "barmode": "overlay",
        "showlegend": True,
        "xaxis": {"title": {"text": "ms"}, "rangemode": "tozero"},
        "yaxis": {**order, "showgrid": False, **LABEL_GAP},
    }
    return {"data": data, "layout": layout}


def curves(points: Sequence[Point], by: str) -> Figure | None:
    """Milliseconds per image of each engine; `by` is "batch", at one size, or "megapixels", at batch 1."""
    found = curve.engines(points)
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
    """Damage of the units that were measured, the most harmful on top, with intervals; what stays float stands out."""
    shown = found.measured[:SHOWN_UNITS]
    if not shown:
        return None
    data: list[dict[str, Any]] = []
    for stays_float, name, fill in ((True, "stays float", "var(--loss)"), (False, "INT8", "var(--int8)")):
        own = [(unit.label, damage) for unit, damage in shown if unit.float == stays_float]
        above, below = [d.high - d.value for _, d in own], [d.value - d.low for _, d in own]
        whiskers: dict[str, Any] = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
        whiskers |= {"color": "var(--ink)", "thickness": 1, "width": 4}
        hover = [f"{unit}<br>{d.value:.4g} [{d.low:.4g}, {d.high:.4g}]<br>{d.images} images" for unit, d in own]
        bars: dict[str, Any] = {"type": "bar", "orientation": "h", "name": name, "y": [unit for unit, _ in own]}
        bars |= {"x": [d.value for _, d in own], "error_x": whiskers, "marker": {"color": fill}}
        data += [{**bars, "hovertext": hover, "hoverinfo": "text"}] if own else []
    labels = [unit.label for unit, _ in shown]
    order = {"type": "category", "categoryorder": "array", "categoryarray": labels}  # "0" is a name, too
    order |= {"tickmode": "array", "tickvals": labels, "ticktext": [tail(label, LONGEST_NAME) for label in labels]}
    layout = {
        "height": ROW_PX * len(shown) + 90,
        "barmode": "overlay",
        "showlegend": True,
        "xaxis": {"title": {"text": found.damage}, "zeroline": True},
        "yaxis": {**order, "autorange": "reversed", "automargin": True, "showgrid": False, **LABEL_GAP},
    }
    return {"data": data, "layout": layout}


def color(precision: str) -> str:
    """CSS variable of a precision."""
    return COLORS.get(precision, OTHER_COLOR)


def _lines(xs: Sequence[float], ys: Sequence[float | None], **how: Any) -> dict[str, Any]:
    return {"type": "scatter", "x": list(xs), "y": list(ys), **how}
