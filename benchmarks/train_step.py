"""Cost of a step of quantization-aware training beside the float step and nvidia-modelopt's, in time and memory.

python benchmarks/train_step.py --config FILE [--set a.b=c] [--batch N] [--crop HxW] [--precision fp32 bf16] [--json]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":  # run as a file: Python looks in benchmarks/ only, and may not be the project's own
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from core.cli.bootstrap import use_project_environment

    use_project_environment()

import torch
from rich.console import Console

from benchmarks.measure import environment
from benchmarks.studies import training_step
from benchmarks.studies.training_step import CLOCKS, StepReport
from benchmarks.studies.training_variants import FLOAT, NAMES, Settings, missing, variant
from core.cli.command import run_command
from core.cli.naming import words_after
from core.cli.options import add_config_options, config_from, count
from core.cli.parser import Parser
from core.console import say
from core.errors import UnsupportedEnvironment
from qat.device import device_for
from qat.training.train_plan import Precision


def main() -> int:
    """Command line; returns the exit code."""
    return run_command(parser())


def parser(prog: str = "python benchmarks/train_step.py") -> Parser:
    """The options of this command."""
    made = Parser(prog=prog, description="Cost of a training step.")
    add_config_options(made)
    made.add_argument("--batch", type=count, metavar="N", help="images per step (default: qat.batch_size)")
    made.add_argument("--crop", type=_size, metavar="HxW", help="pixels (default: the training crop)")
    made.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32"], help="of the step")
    made.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES), help="variants beside float")
    made.add_argument("--rounds", type=count, default=10, metavar="N", help="of the interleaved timing")
    made.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: processor time, for a machine that is shared"
    )
    made.add_argument("--no-memory", action="store_true", help="time only")
    made.add_argument("--json", action="store_true", help="print the report as JSON")
    made.add_argument("--memory-of", choices=NAMES, help=argparse.SUPPRESS)  # the child process of one variant
    made.set_defaults(run=run)
    return made


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width)


def run(arguments: argparse.Namespace) -> None:
    """Measure every variant at every precision, and print the report."""
    config = config_from(arguments)
    torch.set_num_threads(config.bench.threads)
    height, width = arguments.crop or (
        config.train.crop_height_px or config.data.height_px,
        config.train.crop_width_px or config.data.width_px,
    )
    batch = arguments.batch or config.qat.batch_size
    rows = []
    device = device_for(config.device)
    for precision in arguments.precision:
        settings = Settings(config, batch, height, width, precision)
        if arguments.memory_of:
            print(json.dumps(training_step.memory_mib(variant(arguments.memory_of, settings), device)))
            return
        names = [name for name in NAMES if name == FLOAT or name in arguments.only]
        steps = {name: variant(name, settings) for name in names if not missing(name)}
        samples = training_step.time_in_turns(steps, arguments.rounds, CLOCKS[arguments.clock])
        memory = {} if arguments.no_memory else {name: _memory_in_child(name, precision) for name in steps}
        rows += [training_step.cost_of(name, precision, samples, memory) for name in names]
    report = StepReport(
        model=config.model.name,
        batch=batch,
        crop=f"{height}x{width}",
        threads=config.bench.threads,
        device=str(device),
        rounds=arguments.rounds,
        clock=arguments.clock,
        environment=environment.describe(),
        rows=tuple(rows),
    )
    if arguments.json:
        print(report.model_dump_json(indent=2))
    else:
        print(training_step.heading(report))
        training_step.table_of(report.rows).print(Console())


def _memory_in_child(name: str, precision: Precision) -> float:
    """Memory of a variant that has a process to itself: the same command line, for one of them."""
    say(f"memory of {name}, {precision}")
    command = [sys.executable, __file__, *words_after("train-step"), "--precision", precision, "--memory-of", name]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise UnsupportedEnvironment(f"measuring the memory of {name} failed", why=answer.stderr.strip()[-2000:])
    return float(answer.stdout)


if __name__ == "__main__":
    sys.exit(main())
