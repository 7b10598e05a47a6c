"""The comparison as a table and in sentences: for a terminal, for the report, and for docs/peers.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.peer_results import OURS, PeerResults, PeerRow, backends_of, best_float, best_peer, ours_on
from benchmarks.results import Speedup
from benchmarks.table import MIB, MISSING, signed

COLUMNS = ("engine", "quantized by", "p50 ms", "p99 ms", "ours / this [95 %]", "mIoU %", "Δ FP32", "size", "INT8 convs")
TEXT_COLUMNS = 2  # the first ones are aligned left


def cells(row: PeerRow) -> tuple[str, ...]:
    """The texts of a row, in the order of `COLUMNS`; what was not measured shows as a dash."""
    latency = row.latency_ms
    return (
        row.backend,
        row.tool,
        MISSING if latency is None else f"{latency.p50:.2f}",
        MISSING if latency is None else f"{latency.p99:.2f}",
        MISSING if row.ours_over_this is None else _interval(row.ours_over_this),
        MISSING if row.miou is None else f"{row.miou:.2f}",
        MISSING if row.delta_miou is None else signed(row.delta_miou),
        MISSING if row.engine_size_bytes is None else f"{row.engine_size_bytes / MIB:.1f} MiB",
        MISSING if row.convs_total is None else f"{row.convs_int8}/{row.convs_total}",
    )


def verdicts(rows: Sequence[PeerRow], max_drop_points: float) -> list[str]:
    """For each backend, ours against the fastest peer that keeps its mIoU and against the fastest float engine."""
    lines = []
    for backend in backends_of(rows):
        ours = ours_on(rows, backend)
        for what, other in (("peer", best_peer(rows, backend, max_drop_points)), ("float", best_float(rows, backend))):
            if ours is None or other is None or ours.miou is None or other.miou is None or other.ours_over_this is None:
                continue
            ratio, change = _interval(other.ours_over_this), signed(ours.miou - other.miou)
            time = f"ours takes {ratio} of the time of {other.tool}, the best {what}"
            lines.append(f"{backend}: {time}; mIoU {change} points")
    return lines


def notes(rows: Sequence[PeerRow], max_drop_points: float) -> list[str]:
    """One line for each engine that was not measured, or is no opponent, saying why."""
    absent = [f"{row.name}: {row.status}: {row.reason}" for row in rows if row.status != "ok"]
    weak = [
        f"{row.name}: no opponent: loses {-row.delta_miou:.2f} points of mIoU, limit {max_drop_points:g}"
        for row in rows
        if row.is_peer and row.delta_miou is not None and row.delta_miou < -max_drop_points
    ]
    return absent + weak


def report_section(found: PeerResults | None) -> dict[str, Any]:
    """What `peers.html.j2` shows; without a comparison it shows nothing."""
    return {
        "peers": found,
        "peer_columns": COLUMNS,
        "peer_cells": cells,
        "peer_notes": sentences(found) if found else [],
    }


def sentences(found: PeerResults) -> list[str]:
    """What the table says, then its notes, then what asks for caution."""
    rows, limit = found.rows, found.max_drop_points
    return [*verdicts(rows, limit), *notes(rows, limit), *(f"caution: {caveat}" for caveat in found.caveats)]


def print_table(found: PeerResults, console: Console) -> None:
    """Write the table, then its sentences."""
    if console.is_terminal:
        table = Table(*COLUMNS)
        for column in table.columns[TEXT_COLUMNS:]:
            column.justify = "right"
        for row in found.rows:
            table.add_row(*cells(row), style="bold" if row.tool == OURS else None if row.status == "ok" else "dim")
        console.print(table)
    else:
        for line in plain_lines(found.rows):
            console.print(line, markup=False, soft_wrap=True)
    for line in sentences(found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def plain_lines(rows: Sequence[PeerRow]) -> list[str]:
    """The table as text: names aligned left, numbers right."""
    lines = [COLUMNS, *(cells(row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(COLUMNS))]
    align = [str.ljust if index < TEXT_COLUMNS else str.rjust for index in range(len(COLUMNS))]
    return ["  ".join(f(text, width) for f, text, width in zip(align, line, widths, strict=True)) for line in lines]


def _interval(ratio: Speedup) -> str:
    return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
