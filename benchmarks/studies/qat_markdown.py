"""The QAT table as markdown: the metric of INT8 engines by row over seeds, and the change class by class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import mean

from benchmarks.record.table import MISSING, change
from benchmarks.studies.qat_measure import FP32, QatRow
from core.cli.text_table import Table
from core.interval import Interval, signed

BASELINE = "fp32"
SPLITS = {"val": "validation", "train": "training", "tuning": "tuning"}


def markdown(rows: Sequence[QatRow], command: str) -> str:
    """Two tables, docs-ready; deltas are points above the row `fp32`, where there is one.

    Args:
        rows: in the order of the tables; rows of one name are seeds of it.
        command: shell command that makes the numbers again.
    """
    groups = grouped(rows)
    base = next((row.engine for row in groups.get(BASELINE, ())), None)
    metric = rows[0].engine.metric
    images = f"{rows[0].engine.images} {SPLITS[rows[0].split]} images"
    parts = [
        f"{metric} in % over {images}; several seeds as mean (lowest to highest). In brackets the 95 % "
        "interval over images, of several seeds the outermost; agreement is the share of answers with FP32's class.",
        "",
    ]
    columns = ("row", "engine", "seeds", f"{metric} of the engine", "Δ FP32", "agreement", "simulated", "training min")
    body = [_summary(name, seeds, base.score if base else None) for name, seeds in groups.items()]
    parts += Table(columns, body).markdown()
    if base:
        classes = tuple(name for name, value in base.per_class.items() if value is not None)
        body = [[name, *_class_changes(seeds, base.per_class, classes)] for name, seeds in groups.items()]
        parts += ["", "By class: FP32 in %, the other rows in points above it.", ""]
        parts += Table(("row", *classes), body).markdown()
    return "\n".join([*parts, "", "```bash", command, "```", ""])


def grouped(rows: Iterable[QatRow]) -> dict[str, list[QatRow]]:
    """The seeds of each row, in the order in which the rows come."""
    groups: dict[str, list[QatRow]] = {}
    for row in rows:
        groups.setdefault(row.name, []).append(row)
    return groups


def _summary(name: str, seeds: Sequence[QatRow], base: float | None) -> list[str]:
    simulated = [row.simulated_score for row in seeds if row.simulated_score is not None]
    return [
        f"`{name}`",
        f"{seeds[0].backend} {seeds[0].precision}",
        str(len(seeds)),
        _spread([row.engine.score for row in seeds]),
        _change(seeds, base) if base is not None and name != BASELINE else MISSING,
        f"{mean(row.engine.agreement[FP32] for row in seeds):.2f}",
        _spread(simulated) if simulated else MISSING,
        f"{mean(row.train_minutes for row in seeds):.1f}",
    ]


def _change(seeds: Sequence[QatRow], base: float) -> str:
    intervals = [row.engine.change[FP32] for row in seeds]
    points = mean(row.engine.score for row in seeds) - base
    return change(Interval(points, min(each.low for each in intervals), max(each.high for each in intervals)))


def _spread(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _class_changes(seeds: Sequence[QatRow], base: dict[str, float | None], classes: Sequence[str]) -> list[str]:
    show: Callable[[float], str] = "{:.2f}".format if seeds[0].name == BASELINE else signed
    found = []
    for name in classes:
        own = mean(row.engine.per_class[name] or 0.0 for row in seeds)
        found.append(show(own if seeds[0].name == BASELINE else own - (base[name] or 0.0)))
    return found
