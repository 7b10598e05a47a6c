"""Rows as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from benchmarks.record.files import Comparison
from benchmarks.record.rows import Row, best_baseline, best_float, find_row
from core.cli.text_table import Table
from core.interval import Interval, signed

MISSING, REFERENCE = "–", "baseline"
MIB = 1 << 20

Columns = Mapping[str, Callable[[Row], str]]  # title, and the text of a row


def number(value: float | None, form: str = "{:.2f}") -> str:
    """`value` in that form; a dash where nothing was measured."""
    return MISSING if value is None else form.format(value)


def change(points: Interval | None) -> str:
    """As in `−0.12 [−0.30, +0.05]`."""
    return MISSING if points is None else points.text(signed)


def times_faster(ratio: Interval | None) -> str:
    """As in `1.43× [1.40, 1.46]`."""
    return MISSING if ratio is None else ratio.text(unit="×")


def _p50(row: Row) -> str:
    return MISSING if row.latency_ms is None else number(row.latency_ms.p50)


def _p99(row: Row) -> str:
    return MISSING if row.latency_ms is None else number(row.latency_ms.p99)


def _score(row: Row) -> str:
    return number(row.score)


def _size(row: Row) -> str:
    return MISSING if row.engine_size_bytes is None else f"{row.engine_size_bytes / MIB:.1f} MiB"


def _convs(row: Row) -> str:
    return MISSING if row.convs_total is None else f"{row.convs_int8}/{row.convs_total}"


def _against_fp32(text: str, row: Row) -> str:
    return REFERENCE if text != MISSING and row.precision == "fp32" else text


def _image_to_mask(row: Row) -> str:
    """Time and its ratio to the network alone, as in `25.10 (1.06×)`."""
    found = row.image_to_mask
    return MISSING if found is None else f"{found.latency_ms.p50:.2f} ({found.cost.value:.2f}×)"


def _speedup(row: Row) -> str:
    ratio = row.speedup_vs_fp32
    return MISSING if ratio is None else _against_fp32(f"{ratio.value:.2f}×", row)


def summary(rows: Iterable[Row]) -> Columns:
    """Columns that fit a terminal of 80; `engines` has everything."""
    metric = metric_of(rows)
    return {
        "engine": lambda row: row.name,
        "p50 ms": _p50,
        "vs FP32": _speedup,
        f"{metric} %": _score,
        f"Δ {metric} [95 %]": lambda row: _against_fp32(change(row.delta_score), row),
        "INT8": _convs,
    }


def engines(rows: Iterable[Row]) -> Columns:
    """Columns of a run's engines, the ones that decide first; the last only where an engine from image to mask ran."""
    rows = tuple(rows)
    columns: dict[str, Callable[[Row], str]] = {
        "engine": lambda row: row.name,
        "p50 ms": _p50,
        "speed vs FP32": lambda row: _against_fp32(times_faster(row.speedup_vs_fp32), row),
        f"{metric_of(rows)} %": _score,
        f"Δ {metric_of(rows)}": lambda row: _against_fp32(change(row.delta_score), row),
        "INT8 convs": _convs,
        "size": _size,
        "p99 ms": _p99,
        "img/s": lambda row: number(row.throughput_per_s, "{:.1f}"),
        "img/s, all CPUs": lambda row: (
            MISSING if row.throughput is None else number(row.throughput.images_per_s, "{:.1f}")
        ),
    }
    if any(row.image_to_mask is not None for row in rows):
        columns["image → mask ms"] = _image_to_mask
    return columns


def baselines(rows: Iterable[Row]) -> Columns:
    """Columns of this project's engines and of other toolkits'."""
    return {
        "engine": lambda row: row.engine,
        "quantized by": lambda row: "ours" if row.is_ours else row.tool or row.precision,
        "p50 ms": _p50,
        "p99 ms": _p99,
        "ours / this [95 %]": lambda row: MISSING if row.ours_over_this is None else row.ours_over_this.text(),
        f"{metric_of(rows)} %": _score,
        "Δ FP32": lambda row: MISSING if row.delta_score is None else signed(row.delta_score.value),
        "size": _size,
        "INT8 convs": _convs,
    }


def metric_of(rows: Iterable[Row]) -> str:
    """Name of the task's metric, which is the same in all rows that were measured."""
    return next((row.metric for row in rows if row.score is not None), "mIoU")


def cells(row: Row, columns: Columns) -> list[str]:
    """The texts of a row; a dash where nothing was measured."""
    return [text(row) for text in columns.values()]


def table_of(rows: Sequence[Row], columns: Columns, left: int = 1) -> Table:
    """One line per row, pale where it was not measured."""
    dim = frozenset(index for index, row in enumerate(rows) if row.status != "ok")
    return Table(list(columns), [cells(row, columns) for row in rows], left, dim)


def notes(rows: Iterable[Row], caveats: Iterable[str]) -> list[str]:
    """One line for the engines of a backend that were not measured for the same reason, then the caveats."""
    absent: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        if row.status != "ok":
            absent.setdefault((row.engine, row.status, row.reason), []).append(row.tool or row.precision)
    lines = [f"{name} {', '.join(kinds)}: {status}: {reason}" for (name, status, reason), kinds in absent.items()]
    return [*lines, *(f"caution: {caveat}" for caveat in caveats)]


def comparison_notes(found: Comparison) -> list[str]:
    """The comparison in sentences: ours against the best of each backend, baselines left out of it, caveats."""
    rows, limit = found.rows, found.max_drop_points
    weak = [
        f"{row.name}: no opponent: loses {-row.delta_score.value:.2f} points of {row.metric}, limit {limit:g}"
        for row in rows
        if row.tool and row.delta_score is not None and row.delta_score.value < -limit
    ]
    return [*_verdicts(rows, limit), *weak, *notes(rows, found.caveats)]


def _verdicts(rows: Sequence[Row], max_drop_points: float) -> list[str]:
    lines = []
    for backend in dict.fromkeys(row.backend for row in rows):
        ours = find_row(rows, backend, "int8")
        opponents = ("baseline", best_baseline(rows, backend, max_drop_points)), ("float", best_float(rows, backend))
        for kind, other in opponents:
            if (
                ours is None
                or other is None
                or ours.score is None
                or other.score is None
                or other.ours_over_this is None
            ):
                continue
            time = f"ours takes {other.ours_over_this.text()} of the time of {other.tool or other.precision}"
            lines.append(
                f"{ours.engine}: {time}, the best {kind}; {ours.metric} {signed(ours.score - other.score)} points"
            )
    return lines
