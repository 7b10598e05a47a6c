"""Time and memory of one training step of several variants of a network.

Time: all variants take turns, step by step, in one process; ratios are of medians, with a bootstrap interval over
rounds. Memory: each variant runs in its own process. The number is the growth of its resident set (on a GPU, of the
allocator) during a few steps, from its size with the network and the batch loaded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure.latency import MS_PER_S
from benchmarks.record.details import Environment
from benchmarks.record.rows import Record
from benchmarks.record.table import MIB, number
from benchmarks.studies.training_variants import FLOAT, missing
from core.cli.text_table import Table
from core.console import track
from core.errors import UnsupportedEnvironment
from core.interval import Interval
from deploy.tuning.timing import Samples, paired_ratio
from qat.training.train_plan import Precision

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
WARMUP_STEPS = 2
MEMORY_STEPS = 3


class StepCost(Record):
    """One variant.

    Attributes:
        median_ms: of one step, from forward to optimizer.
        time_ratio: to the float step of the same precision.
        memory_mib: growth of the resident set by the steps; None where it was not measured.
        memory_ratio: to the float step.
        reason: why there is no measurement.
    """

    name: str
    precision: Precision
    median_ms: float | None = None
    time_ratio: Interval | None = None
    memory_mib: float | None = None
    memory_ratio: float | None = None
    reason: str = ""


class StepReport(Record):
    """All variants at one setting, and their machine."""

    model: str
    batch: int
    crop: str
    threads: int
    device: str
    rounds: int
    clock: str
    environment: Environment
    rows: tuple[StepCost, ...]


def time_in_turns(
    steps: Mapping[str, Callable[[int], None]], rounds: int, clock_s: Callable[[], float]
) -> dict[str, Samples]:
    """Run steps A B C, A B C, …; returns milliseconds by name, each (rounds, 1)."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for index in track(range(WARMUP_STEPS + rounds), "timing"):
        for name, step in steps.items():
            start_s = clock_s()
            step(index)
            elapsed_ms = (clock_s() - start_s) * MS_PER_S
            if index >= WARMUP_STEPS:
                found[name].append(elapsed_ms)
    return {name: np.array(values)[:, np.newaxis] for name, values in found.items()}


def memory_mib(step: Callable[[int], None], device: torch.device) -> float:
    """Growth of memory during a few steps: of `device`, or of this process on a CPU.

    Raises:
        UnsupportedEnvironment: no GPU, and not Linux.
    """
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        _repeat(step)
        return (torch.cuda.max_memory_allocated(device) - before) / MIB
    before = _status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM, the peak, to the present VmRSS
    _repeat(step)
    return (_status_bytes("VmHWM") - before) / MIB


def _repeat(step: Callable[[int], None]) -> None:
    for index in range(MEMORY_STEPS):
        step(index)


def _status_bytes(field: str) -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        raise UnsupportedEnvironment("peak memory is read from /proc/self/status", "not Linux", "use --no-memory")
    line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def cost_of(name: str, precision: Precision, samples: Mapping[str, Samples], memory: Mapping[str, float]) -> StepCost:
    """The row of a variant, compared with the float step.

    Args:
        samples: of `time_in_turns`, by name; a missing variant gives its reason.
        memory: in MiB, by name; empty where memory was not measured.
    """
    if name not in samples:
        return StepCost(name=name, precision=precision, reason=missing(name))
    return StepCost(
        name=name,
        precision=precision,
        median_ms=float(np.median(samples[name])),
        time_ratio=None if name == FLOAT else paired_ratio(samples[name], samples[FLOAT]),
        memory_mib=memory.get(name),
        memory_ratio=memory[name] / memory[FLOAT] if memory and name != FLOAT else None,
    )


def heading(report: StepReport) -> str:
    """The setting in one line."""
    where = f"{report.device}, {report.environment.cpu}, {report.threads} threads"
    return f"{report.model}, batch {report.batch}, crop {report.crop}, {where}, {report.clock} time"


def table_of(rows: Sequence[StepCost]) -> Table:
    """One line per variant; unmeasured variants show their reason instead of a time."""
    columns = ("step", "precision", "median ms", "time vs float [95 %]", "memory MiB", "vs float")
    return Table(columns, [_cells(row) for row in rows], left=2)


def _cells(row: StepCost) -> Sequence[str]:
    return (
        row.name,
        row.precision,
        row.reason or number(row.median_ms, "{:.0f}"),
        "" if row.time_ratio is None else row.time_ratio.text(),
        "" if row.memory_mib is None else f"{row.memory_mib:.0f}",
        "" if row.memory_ratio is None else f"{row.memory_ratio:.2f}",
    )
