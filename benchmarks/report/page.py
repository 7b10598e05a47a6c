"""results.json, its pictures and the other files of the run as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from markupsafe import Markup, escape

from benchmarks.record import table
from benchmarks.record.details import Layer, Placed
from benchmarks.record.files import Comparison, CostCurves, Results, load, load_if_any
from benchmarks.record.rows import Row, fastest_int8, find_row
from benchmarks.record.verdict import named, next_steps, verdict
from benchmarks.report import charts
from benchmarks.report.sensitivity import of_run
from core.console import say
from core.files.artifacts import read_json, write_text
from core.files.paths import RunPaths
from core.interval import signed
from core.page.templates import templates_in

FILE_NAME = "report.html"
WEBP_QUALITY = 85


def write_report(found: Results) -> Path:
    """Render the page into the run's results; returns its path."""
    target = RunPaths(found.run).results / FILE_NAME
    write_text(target, render(found))
    say(f"report: {target}")
    return target


def write_again(run: str) -> None:
    """Put curves or a comparison that are new into the run's page, if the run has been benchmarked."""
    if (RunPaths(run).results / Results.FILE).is_file():
        write_report(load(run))


def render(found: Results) -> str:
    """The page as HTML; pictures, cost curves and the comparison are read from the run's results."""
    templates = templates_in(Path(__file__).parent)
    templates.filters |= {"signed": signed, "rgb": rgb, "stacked": stacked, "mhz": mhz}
    best, curves = fastest_int8(found.rows), load_if_any(CostCurves, found.run)
    from qat.tasks import TASKS  # brings torch, which the command's help does not need

    told = verdict(found)
    sensitivity, comparison = of_run(found.run), load_if_any(Comparison, found.run)
    base = best and find_row(found.rows, best.backend, "fp32")
    return templates.get_template("report.html.j2").render(
        results=found,
        verdict=told,
        notes=table.notes(found.rows, ()),
        cautions=general_first(found),
        titles={row.name: named(row) for row in found.rows},
        backends=defaultdict(str, {row.backend: row.engine for row in found.rows}),
        decisions=decisions(found),
        steps=[map(str.strip, step.split(":", 1)) for step in next_steps(found, told.ship)],
        best=best,
        base=base,
        worst=worst_class(base, best),
        engines=table.engines(found.rows),
        metric=table.metric_of(found.rows),
        task=TASKS[found.config["task"]],
        cells=table.cells,
        mib=table.MIB,
        curves=curves,
        curves_are_of_this_run=curves is not None and curves.qdq_sha256 in found.artifacts.values(),
        sensitivity=sensitivity,
        comparison=comparison,
        baselines=table.baselines(comparison.rows if comparison else ()),
        comparison_notes=table.comparison_notes(comparison) if comparison else [],
        scatter=charts.scatter(found.rows),
        changes=charts.changes(found.rows),
        slowest=charts.slowest_layers(found.layers[best.name]) if best and best.name in found.layers else None,
        batches=curves and charts.curves(curves.batches, "batch"),
        sizes=curves and charts.curves(curves.sizes, "megapixels"),
        damages=sensitivity and charts.damages(sensitivity),
        layer_name=charts.layer_name,
        time_by_kind=time_by_kind,
        skips_by_reason=skips_by_reason,
        picture=partial(picture_uri, RunPaths(found.run).results),
    )


def decisions(found: Results) -> list[str]:
    """The decisions of the run, the last one first: by `python -m qat ship`, then by the QAT stage."""
    shipped = RunPaths(found.run).results / "ship.json"
    lines = []
    if shipped.is_file():
        content = read_json(shipped)
        lines += [content["decision"], *content["found_out"]]
    return [*lines, found.decision] if found.decision else lines


def general_first(found: Results) -> list[str]:
    """The reasons for caution, first the ones that concern all engines."""
    return sorted(found.caveats, key=lambda caveat: caveat.startswith(tuple(f"{row.name}:" for row in found.rows)))


@dataclass(frozen=True)
class ClassChange:
    """A class and its metric in FP32 and in INT8, percent."""

    name: str
    before: float
    after: float

    @property
    def points(self) -> float:
        """Negative is a loss."""
        return self.after - self.before


def worst_class(base: Row | None, best: Row | None) -> ClassChange | None:
    """The class that loses most from `base` to `best`, or gains least; None where no class was measured in both."""
    before, after = (base and base.per_class) or {}, (best and best.per_class) or {}
    pairs = [(name, before.get(name), value) for name, value in after.items()]
    found = [ClassChange(name, old, new) for name, old, new in pairs if old is not None and new is not None]
    return min(found, key=lambda change: change.points, default=None)


def time_by_kind(layers: Sequence[Layer]) -> list[tuple[str, str, int, float]]:
    """Kind, precision, number of layers and their share of the time in percent, slowest first."""
    sums: dict[tuple[str, str], list[float]] = {}
    for layer in layers:
        sums.setdefault((layer.kind, layer.precision), []).append(layer.ms)
    total = sum(layer.ms for layer in layers) or 1.0
    rows = [(kind, precision, len(times), 100 * sum(times) / total) for (kind, precision), times in sums.items()]
    return sorted(rows, key=lambda row: -row[3])


def skips_by_reason(placement: Placed) -> list[tuple[str, str, list[str]]]:
    """Rule, reason, and the nodes it left in float; most nodes first."""
    nodes: dict[tuple[str, str], list[str]] = {}
    for skip in placement.skips:
        nodes.setdefault((skip.rule, skip.why), []).append(skip.node)
    return sorted(((rule, why, names) for (rule, why), names in nodes.items()), key=lambda row: -len(row[2]))


def picture_uri(folder: Path, name: str) -> str:
    """A PNG file as a data URI in WebP, which takes a sixth of the page."""
    picture = cv2.imdecode(np.frombuffer((folder / name).read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None, name  # the benchmark wrote it
    encoded = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY])[1]
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def stacked(cell: str) -> Markup:
    """A number, and on a line of its own the interval or ratio in brackets behind it."""
    value, _, behind = cell.partition(" ")
    if not behind.startswith(("[", "(")):
        return escape(cell)
    return Markup("{}<small>{}</small>").format(value, behind)


def mhz(clock: float | None) -> str:
    """A clock as text."""
    return "unknown" if clock is None else f"{clock:.0f} MHz"


def rgb(color: tuple[int, int, int]) -> str:
    """A colour as CSS writes it."""
    return "rgb({} {} {})".format(*color)
