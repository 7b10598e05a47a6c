"""The whole line: make what is missing, then measure every engine against FP32.

python benchmarks/run.py --config FILE [--set a.b=c] [--json] [--gate] [--debug]
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

if __name__ == "__main__":  # run as a file: Python looks in benchmarks/ only, and may not be the project's own
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from core.bootstrap import use_project_environment

    use_project_environment()

from rich.console import Console

from benchmarks import gate
from benchmarks.table import print_table
from core.cli import add_config_options, config_from, reproducing
from core.errors import GateMissed, run_cli
from core.paths import RunPaths


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python benchmarks/run.py", description="Latency and mIoU against FP32.")
    add_config_options(parser)
    parser.add_argument("--json", action="store_true", help="print results.json instead of the table")
    parser.add_argument("--gate", action="store_true", help="exit with 1 when INT8 is slower or loses too much mIoU")
    arguments = parser.parse_args()
    return run_cli(lambda: run(arguments), debug=arguments.debug)


def run(arguments: argparse.Namespace) -> None:
    """Measure, print, and judge.

    Raises:
        GateMissed: `--gate` was given and an INT8 engine misses a limit.
    """
    config = config_from(arguments)
    from benchmarks.pipeline import bench  # brings torch: a wrong option or config is told before that loads

    options = shlex.join(reproducing(arguments))
    found = bench(config, f"python benchmarks/run.py {options}")
    if config.bench.sweep.enabled:
        from benchmarks.report import write_report
        from benchmarks.sweep import sweep

        sweep(config, f"python benchmarks/sweep.py {options}")
        write_report(found, RunPaths(config.run).results)
    if arguments.json:
        print(found.model_dump_json(indent=2))
    else:
        print_table(found.rows, Console(highlight=False), found.caveats)
    missed = gate.missed(found.rows, config.bench.gate_miou_drop, found.layers, found.noise)
    if arguments.gate and missed:
        fix = "find the layers that cost most with sensitivity_analysis.py, or set bench.gate_miou_drop"
        raise GateMissed("INT8 misses a limit", why="; ".join(missed), fix=fix)


if __name__ == "__main__":
    sys.exit(main())
