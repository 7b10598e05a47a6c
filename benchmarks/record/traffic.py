"""Bytes moved by INT8 engines beside the half-precision engine of the same backend: cautions, a gate, a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.record.rows import Row, find_row
from deploy.targets.layer_work import HALF, EngineWork, caution


def cautions(rows: Sequence[Row]) -> list[str]:
    """A sentence for every INT8 engine that moves more bytes than the BF16 or FP16 engine of its backend.

    Engines that were built but cannot run here are compared, too.
    """
    return [f"{name}: {told}" for name, int8, half, other in _pairs(rows) if (told := caution(int8, half, other))]


def missed(rows: Sequence[Row], most: float | None) -> list[str]:
    """INT8 engines that move more than `most` times the bytes of half precision, in words; None judges nothing."""
    return [
        f"{name} moves {int8.bytes_moved / half.bytes_moved:.2f} times the bytes of {other}, limit {most:g}"
        for name, int8, half, other in _pairs(rows)
        if most is not None and int8.bytes_moved and half.bytes_moved and int8.bytes_moved > most * half.bytes_moved
    ]


def _pairs(rows: Sequence[Row]) -> Iterator[tuple[str, EngineWork, EngineWork, str]]:
    """Name and counts of every INT8 engine, counts and precision of each half-precision engine of its backend."""
    for row in rows:
        if row.precision == "int8" and row.work is not None:
            for half in (find_row(rows, row.backend, precision) for precision in HALF):
                if half is not None and half.work is not None:
                    yield row.name, row.work, half.work, half.precision
