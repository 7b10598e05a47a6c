"""The answer of a benchmark in a few lines: which engine to ship, what it costs, what to look at, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.record.files import Results
from benchmarks.record.rows import Row, fastest, find_row
from core.cli.naming import command
from core.files.paths import RunPaths
from core.interval import Interval, signed

CLASS_LOSS = 1.0  # points of IoU below FP32 from which a class is named
DEMO = "this is a demo on generated street scenes: it shows that the pipeline works, not a network to ship"


@dataclass(frozen=True)
class Verdict:
    """The outcome of a benchmark.

    Attributes:
        ship: the row to ship; None where nothing that could be measured is within the limit.
        headline: one sentence: the engine, its speed-up, its change of accuracy, its share of INT8.
        checks: points to look at before shipping, one short sentence each.
    """

    ship: Row | None
    headline: str
    checks: tuple[str, ...] = ()


def verdict(found: Results) -> Verdict:
    """The fastest engine that loses no more of the metric than `bench.gate_drop_points`, in words."""
    limit = float(found.config["bench"]["gate_drop_points"])
    measured = [row for row in found.rows if row.status == "ok" and not row.tool and row.latency_ms is not None]
    kept = [row for row in measured if row.delta_score is None or row.delta_score.value >= -limit]
    best, int8 = fastest(kept), fastest(row for row in measured if row.precision == "int8")
    demo = (DEMO,) if found.config["data"]["name"] == "streets" else ()
    if best is None:
        return Verdict(None, "Nothing to ship: no engine could be measured here", demo)
    checks = [*demo, *_lost_classes(best, find_row(found.rows, best.backend, "fp32"))]
    if int8 is not None and best.precision != "int8":
        checks.append(_why_not(int8, best, limit))
    return Verdict(best, headline(best), tuple(checks))


def headline(row: Row) -> str:
    """As in `Ship OpenVINO INT8: 2.94× FP32, 1.24× BF16; mIoU no worse (+0.28 [+0.21, +0.36]); 75/75 in INT8`."""
    speed = [f"{row.speedup_vs_fp32.value:.2f}× FP32"] if row.speedup_vs_fp32 and row.precision != "fp32" else []
    if row.speedup_vs_float and row.fastest_float not in (None, "fp32"):
        speed.append(f"{row.speedup_vs_float.value:.2f}× {str(row.fastest_float).upper()}")
    parts = [", ".join(speed)] if speed else []
    if row.delta_score is not None and row.precision != "fp32":
        parts.append(f"{row.metric} {_compared(row.delta_score)}")
    if row.precision == "int8" and row.convs_total:
        parts.append(f"{row.convs_int8}/{row.convs_total} convolutions in INT8")
    return f"Ship {named(row)}{': ' if parts else ''}{'; '.join(parts)}"


def named(row: Row) -> str:
    """An engine for people, as in `OpenVINO INT8`."""
    return f"{row.engine} {row.tool or row.precision.upper()}"


def next_steps(found: Results, ship: Row | None) -> list[str]:
    """Lines that name the engine's folder, the report, and the command that uses the engine."""
    paths = RunPaths(found.run)
    report = f"Report: {paths.results / 'report.html'}"
    if ship is None:
        return [report, f"Next:   {command('doctor')}"]
    folder = paths.bundle(ship.backend, ship.precision)
    used = folder if ship.image_to_mask is None else folder.with_name(f"{folder.name}-mask")
    return [f"Engine: {folder}", report, f"Next:   {command('run', str(used))} IMAGE_OR_FOLDER"]


def _compared(points: Interval) -> str:
    """Lower or higher only where the whole interval is; the numbers follow."""
    word = "lower" if points.high < 0 else "no worse" if points.low >= 0 else "the same within its interval"
    return f"{word} ({points.text(signed)})"


def _why_not(int8: Row, best: Row, limit: float) -> str:
    if int8.delta_score is not None and int8.delta_score.value < -limit:
        return f"{named(int8)} loses {-int8.delta_score.value:.2f} points of {int8.metric}, limit {limit:g}"
    return f"{named(int8)} is slower than {named(best)}"


def _lost_classes(row: Row, reference: Row | None) -> Sequence[str]:
    """The classes that lose at least `CLASS_LOSS` points against FP32, most first."""
    before = (reference.per_class if reference else None) or {}
    changes = [
        (iou - other, name)
        for name, iou in (row.per_class or {}).items()
        if iou is not None and (other := before.get(name)) is not None and iou - other <= -CLASS_LOSS
    ]
    if not changes:
        return []
    return ["check " + ", ".join(f"{name} {signed(change)}" for change, name in sorted(changes)) + " points of IoU"]
