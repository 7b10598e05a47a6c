"""The record of a GPU check, and its Markdown section for docs/evidence/results.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from benchmarks.record.details import Environment
from benchmarks.record.rows import Record, Row, Status
from benchmarks.record.table import MISSING, engines, notes, table_of
from core.cli.text_table import Table

VENDOR_PACKAGES = ("torch", "tensorrt", "tensorrt-rtx", "pycuda", "nvidia-modelopt")


class CheckedPart(Record):
    """One part of the check.

    Attributes:
        command: shell command that repeats this part.
        status: "ok"; "failed"; "unavailable", nothing could be measured on this machine.
        reason: why the status is not "ok".
        found: measurements of the part's command; empty unless "ok".
    """

    name: str
    command: str
    status: Status
    reason: str = ""
    seconds: float
    found: Mapping[str, Any] = Field(default_factory=dict)


class GpuCheck(Record):
    """The content of gpu-check.json; `created` is UTC, ISO 8601."""

    created: str
    environment: Environment
    seconds: float
    parts: tuple[CheckedPart, ...]


def markdown(check: GpuCheck) -> str:
    """The Markdown section: hardware and versions, the parts, then a table for each part with measurements."""
    machine = check.environment
    versions = [f"{name} {machine.packages[name]}" for name in VENDOR_PACKAGES if name in machine.packages]
    lines = [
        f"## GPU check: {machine.gpu or 'no GPU'}",
        "",
        f"`make gpu-check`, {check.created}, {check.seconds:.0f} s in all. {machine.cpu}, {machine.os},",
        f"Python {machine.python}, {', '.join(versions)}.",
        "",
        *Table(("part", "status", "s", "result"), [_part_cells(part) for part in check.parts]).markdown(),
    ]
    found = {part.name: part.found for part in check.parts if part.found}
    if "engines" in found:
        rows = [Row.model_validate(row) for row in found["engines"]["rows"]]
        lines += ["", *table_of(rows, engines(rows)).markdown(), "", *(f"- {note}" for note in notes(rows, ()))]
    layers = {name: counts for name, counts in found.items() if name.startswith("layers of ")}
    if layers:
        columns = ("layers", "convolutions", "in float", "INT8 with float output", "additions fused", "conversions")
        lines += ["", *Table(columns, [_layer_cells(name, counts) for name, counts in layers.items()]).markdown()]
    if "training step" in found:
        step = found["training step"]
        titles = (f"step of {step['model']}, {step['batch']} × {step['crop']}", "precision", "median ms", "× float")
        lines += ["", *Table(titles, list(map(_step_cells, step["rows"]))).markdown()]
    return "\n".join(lines) + "\n"


def _part_cells(part: CheckedPart) -> Sequence[str]:
    short = {key: value for key, value in part.found.items() if isinstance(value, str | int | float)}
    result = part.reason or ", ".join(f"{key.replace('_', ' ')} {_number(value)}" for key, value in short.items())
    return part.name, part.status, f"{part.seconds:.0f}", result


def _number(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _layer_cells(name: str, counts: Mapping[str, int]) -> Sequence[str]:
    keys = ("convolutions", "float_convolutions", "float_outputs", "fused_adds", "conversions")
    return name.removeprefix("layers of "), *(str(counts[key]) for key in keys)


def _step_cells(row: Mapping[str, Any]) -> Sequence[str]:
    ratio, median_ms = row["time_ratio"], row["median_ms"]
    took = row["reason"] if median_ms is None else f"{median_ms:.1f}"
    return row["name"], row["precision"], took, "{value:.2f}".format(**ratio) if ratio else MISSING
