"""The QAT table as markdown: INT8-engine mIoU by row over seeds, and what changed class by class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import mean

from benchmarks.qat_measure import FP32, QatRow
from benchmarks.results import Interval
from benchmarks.table import MISSING, signed, with_interval

BASELINE = "fp32"
SPLITS = {"val": "validation", "train": "training"}


def markdown(rows: Sequence[QatRow], command: str) -> str:
    """Two tables, docs-ready; deltas are points above the row `fp32`, where there is one.

    Args:
        rows: in the order of the tables; rows of one name are seeds of it.
        command: shell command that makes the numbers again.
    """
    groups = grouped(rows)
    base = next((row.engine for row in groups.get(BASELINE, ())), None)
    images = f"{rows[0].engine.images} {SPLITS[rows[0].split]} images"
    parts = [
        f"mIoU in % over {images}; several seeds as mean (lowest to highest). In brackets the 95 % "
        "interval over images, of several seeds the outermost; agreement is the share of pixels with FP32's class.",
        "",
    ]
    parts += _table(
        ("row", "engine", "seeds", "mIoU of the engine", "Δ FP32", "agreement", "simulated", "training min"),
        [_summary(name, seeds, base.miou if base else None) for name, seeds in groups.items()],
    )
    if base:
        classes = tuple(name for name, value in base.per_class_iou.items() if value is not None)
        body = [[name, *_class_changes(seeds, base.per_class_iou, classes)] for name, seeds in groups.items()]
        parts += ["", "IoU by class: FP32 in %, the other rows in points above it.", ""]
        parts += _table(("row", *classes), body)
    return "\n".join([*parts, "", "```bash", command, "```", ""])


def grouped(rows: Iterable[QatRow]) -> dict[str, list[QatRow]]:
    """The seeds of each row, in the order in which the rows come."""
    groups: dict[str, list[QatRow]] = {}
    for row in rows:
        groups.setdefault(row.name, []).append(row)
    return groups


def _summary(name: str, seeds: Sequence[QatRow], base: float | None) -> list[str]:
    simulated = [row.simulated_miou for row in seeds if row.simulated_miou is not None]
    return [
        f"`{name}`",
        f"{seeds[0].backend} {seeds[0].precision}",
        str(len(seeds)),
        _spread([row.engine.miou for row in seeds]),
        _change(seeds, base) if base is not None and name != BASELINE else MISSING,
        f"{mean(row.engine.agreement[FP32] for row in seeds):.2f}",
        _spread(simulated) if simulated else MISSING,
        f"{mean(row.train_minutes for row in seeds):.1f}",
    ]


def _change(seeds: Sequence[QatRow], base: float) -> str:
    intervals = [row.engine.change_95[FP32] for row in seeds]
    outermost = Interval(low=min(each.low for each in intervals), high=max(each.high for each in intervals))
    return with_interval(mean(row.engine.miou for row in seeds) - base, outermost)


def _spread(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _class_changes(seeds: Sequence[QatRow], base: dict[str, float | None], classes: Sequence[str]) -> list[str]:
    show: Callable[[float], str] = "{:.2f}".format if seeds[0].name == BASELINE else signed
    found = []
    for name in classes:
        own = mean(row.engine.per_class_iou[name] or 0.0 for row in seeds)
        found.append(show(own if seeds[0].name == BASELINE else own - (base[name] or 0.0)))
    return found


def _table(header: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *body]
    return [f"| {' | '.join(cells)} |" for cells in lines]
