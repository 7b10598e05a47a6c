"""The results as a table: rich on a terminal, aligned plain text elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.results import Interval, Row

COLUMNS = (
    "engine",
    "p50 ms",
    "p99 ms",
    "img/s",
    "img/s, all CPUs",
    "speed vs FP32",
    "mIoU %",
    "Δ mIoU",
    "size",
    "INT8 convs",
    "image → mask ms",
)
MISSING, BASELINE = "–", "baseline"
MIB = 1 << 20


def cells(row: Row) -> tuple[str, ...]:
    """The texts of a row, in the order of `COLUMNS`; what was not measured shows as a dash."""
    latency = row.latency_ms
    return (
        row.name,
        MISSING if latency is None else f"{latency.p50:.2f}",
        MISSING if latency is None else f"{latency.p99:.2f}",
        MISSING if row.throughput_per_s is None else f"{row.throughput_per_s:.1f}",
        MISSING if row.throughput is None else f"{row.throughput.images_per_s:.1f}",
        _speed(row),
        MISSING if row.miou is None else f"{row.miou:.2f}",
        _delta(row),
        MISSING if row.engine_size_bytes is None else f"{row.engine_size_bytes / MIB:.1f} MiB",
        MISSING if row.convs_total is None else f"{row.convs_int8}/{row.convs_total}",
        _end_to_end(row),
    )


def _end_to_end(row: Row) -> str:
    """Time and its ratio to the network alone, as in `25.10 (1.06×)`."""
    found = row.end_to_end
    return MISSING if found is None else f"{found.latency_ms.p50:.2f} ({found.cost.value:.2f}×)"


def _speed(row: Row) -> str:
    """Value and interval, as in `1.43× [1.40, 1.46]`."""
    speedup = row.speedup_vs_fp32
    if speedup is None:
        return MISSING
    return BASELINE if row.precision == "fp32" else f"{speedup.value:.2f}× [{speedup.low:.2f}, {speedup.high:.2f}]"


def _delta(row: Row) -> str:
    if row.delta_miou is None:
        return MISSING
    return BASELINE if row.precision == "fp32" else with_interval(row.delta_miou, row.delta_miou_95)


def with_interval(value: float, interval: Interval | None) -> str:
    """As in `−0.12 [−0.30, +0.05]`."""
    return signed(value) + (f" [{signed(interval.low)}, {signed(interval.high)}]" if interval else "")


def signed(value: float) -> str:
    """Two decimals and always a sign, a true minus; no sign for what rounds to zero."""
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def notes(rows: Sequence[Row]) -> list[str]:
    """One line for each engine that was not measured, saying why."""
    return [f"{row.name}: {row.status}: {row.reason}" for row in rows if row.status != "ok"]


def print_table(rows: Sequence[Row], console: Console, caveats: Sequence[str] = ()) -> None:
    """Write the table, then the notes and what asks for caution."""
    if console.is_terminal:
        table = Table(*COLUMNS)
        for column in table.columns[1:]:
            column.justify = "right"
        for row in rows:
            table.add_row(*cells(row), style=None if row.status == "ok" else "dim")
        console.print(table)
    else:
        for line in plain_lines(rows):
            console.print(line, markup=False, soft_wrap=True)
    for note in [*notes(rows), *(f"caution: {caveat}" for caveat in caveats)]:
        console.print(note, markup=False, highlight=False, soft_wrap=True)


def plain_lines(rows: Sequence[Row]) -> list[str]:
    """The table as text: the first column aligned left, numbers right."""
    lines = [COLUMNS, *(cells(row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(COLUMNS))]
    return ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]
