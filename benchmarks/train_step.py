"""What a step of quantization-aware training costs, beside the float step and nvidia-modelopt's, in time and memory.

python benchmarks/train_step.py --config FILE [--set a.b=c] [--batch N] [--crop HxW] [--precision fp32 bf16] [--json]

Time: all contestants take turns, step by step, in one process; ratios are of medians, with a bootstrap interval over
rounds. Memory: each contestant gets a process of its own, and what counts is how far its resident set (on a GPU, the
allocator) rises in a few steps above what it was with the network and the batch in place.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

if __name__ == "__main__":  # run as a file: Python looks in benchmarks/ only, and may not be the project's own
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from core.bootstrap import use_project_environment

    use_project_environment()

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import environment, timing
from benchmarks.results import Environment, Record, Speedup
from benchmarks.train_contestants import FLOAT, NAMES, Settings, contestant, missing
from core.cli import add_config_options, config_from
from core.console import say, track
from core.errors import UnsupportedEnvironment, UserError, run_cli
from qat.training.train_plan import Precision

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
WARMUP_STEPS = 2
MEMORY_STEPS = 3
MIB = 1 << 20


class StepCost(Record):
    """One contestant.

    Attributes:
        median_ms: of one step, forward to optimizer.
        time_ratio: to the float step of the same precision.
        memory_mib: what the steps add to the resident set; None where it was not asked for.
        memory_ratio: to the float step.
        reason: why nothing was measured.
    """

    name: str
    precision: Precision
    median_ms: float | None = None
    time_ratio: Speedup | None = None
    memory_mib: float | None = None
    memory_ratio: float | None = None
    reason: str = ""


class StepReport(Record):
    """All contestants at one setting, and where they ran."""

    model: str
    batch: int
    crop: str
    threads: int
    rounds: int
    clock: str
    environment: Environment
    rows: tuple[StepCost, ...]


def main() -> int:
    """Command line; returns the exit code."""
    arguments = _parser().parse_args()
    return run_cli(lambda: _run(arguments), debug=arguments.debug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python benchmarks/train_step.py", description="Cost of a training step.")
    add_config_options(parser)
    parser.add_argument("--batch", type=int, metavar="N", help="images per step (default: qat.batch_size)")
    parser.add_argument("--crop", type=_size, metavar="HxW", help="pixels (default: the training crop)")
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32"])
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES), help="contestants beside float")
    parser.add_argument("--rounds", type=int, default=10, metavar="N")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: processor time, for a machine that is shared"
    )
    parser.add_argument("--no-memory", action="store_true", help="time only")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory-of", choices=NAMES, help=argparse.SUPPRESS)  # the child process of one contestant
    return parser


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width)


def _run(arguments: argparse.Namespace) -> None:
    config = config_from(arguments)
    torch.set_num_threads(config.bench.threads)
    height, width = arguments.crop or (config.train.crop_height_px, config.train.crop_width_px)
    if arguments.rounds < 1:
        raise UserError("--rounds must be at least 1")
    rows: list[StepCost] = []
    batch = arguments.batch or config.qat.batch_size
    for precision in arguments.precision:
        settings = Settings(config, batch, height, width, precision)
        if arguments.memory_of:
            print(json.dumps(step_memory_mib(contestant(arguments.memory_of, settings))))
            return
        names = [name for name in NAMES if name == FLOAT or name in arguments.only]
        present = [name for name in names if not missing(name)]
        samples = time_in_turns(
            {name: contestant(name, settings) for name in present}, arguments.rounds, CLOCKS[arguments.clock]
        )
        memory = {} if arguments.no_memory else {name: _memory_in_child(name, precision) for name in present}
        rows += [_row(name, precision, samples, memory) for name in names]
    report = StepReport(
        model=config.model.name,
        batch=batch,
        crop=f"{height}x{width}",
        threads=config.bench.threads,
        rounds=arguments.rounds,
        clock=arguments.clock,
        environment=environment.describe(),
        rows=tuple(rows),
    )
    if arguments.json:
        print(report.model_dump_json(indent=2))
    else:
        _print(report)


def time_in_turns(
    steps: Mapping[str, Callable[[int], None]], rounds: int, clock_s: Callable[[], float]
) -> dict[str, timing.Samples]:
    """Do steps A B C, A B C, …; returns milliseconds by name, each (rounds, 1)."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for number in track(range(WARMUP_STEPS + rounds), "timing"):
        for name, step in steps.items():
            start_s = clock_s()
            step(number)
            elapsed_ms = (clock_s() - start_s) * timing.MS_PER_S
            if number >= WARMUP_STEPS:
                found[name].append(elapsed_ms)
    return {name: np.array(values)[:, np.newaxis] for name, values in found.items()}


def step_memory_mib(step: Callable[[int], None]) -> float:
    """How far a few steps raise the memory of this process above what it holds before them."""
    if torch.cuda.is_available():
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        peak = _peak_after(step, torch.cuda.max_memory_allocated)
        return (peak - before) / MIB
    before = _status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # sets VmHWM, the peak, to the present VmRSS
    return (_peak_after(step, lambda: _status_bytes("VmHWM")) - before) / MIB


def _peak_after(step: Callable[[int], None], peak: Callable[[], int]) -> int:
    for number in range(MEMORY_STEPS):
        step(number)
    return peak()


def _status_bytes(field: str) -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        raise UnsupportedEnvironment("peak memory is read from /proc/self/status", "not Linux", "use --no-memory")
    line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def _memory_in_child(name: str, precision: Precision) -> float:
    """`step_memory_mib` of a contestant that has a process to itself: the same command line, for one of them."""
    say(f"memory of {name}, {precision}")
    command = [sys.executable, *sys.argv, "--precision", precision, "--memory-of", name]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise UnsupportedEnvironment(f"measuring the memory of {name} failed", why=answer.stderr.strip()[-2000:])
    return float(answer.stdout)


def _row(
    name: str, precision: Precision, samples: Mapping[str, timing.Samples], memory: Mapping[str, float]
) -> StepCost:
    if name not in samples:
        return StepCost(name=name, precision=precision, reason=missing(name))
    return StepCost(
        name=name,
        precision=precision,
        median_ms=float(np.median(samples[name])),
        time_ratio=None if name == FLOAT else timing.speedup(samples[name], samples[FLOAT]),
        memory_mib=memory.get(name),
        memory_ratio=memory[name] / memory[FLOAT] if memory and name != FLOAT else None,
    )


def _print(report: StepReport) -> None:
    console = Console(highlight=False)
    where = f"{report.environment.cpu}, {report.threads} threads"
    console.print(
        f"{report.model}, batch {report.batch}, crop {report.crop}, {where}, {report.clock} time", markup=False
    )
    table = Table("step", "precision", "median ms", "time vs float [95 %]", "memory MiB", "vs float")
    for row in report.rows:
        table.add_row(*_cells(row))
    console.print(table)


def _cells(row: StepCost) -> Sequence[str]:
    if row.median_ms is None:
        return row.name, row.precision, row.reason
    ratio = row.time_ratio
    return (
        row.name,
        row.precision,
        f"{row.median_ms:.0f}",
        "" if ratio is None else f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]",
        "" if row.memory_mib is None else f"{row.memory_mib:.0f}",
        "" if row.memory_ratio is None else f"{row.memory_ratio:.2f}",
    )


if __name__ == "__main__":
    sys.exit(main())
