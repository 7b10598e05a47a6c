"""The whole pipeline: make the engines that are missing, then measure every engine against FP32.

python benchmarks/run.py --config FILE [--set a.b=c] [--json] [--gate] [--debug]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # run as a file: Python looks in benchmarks/ only, and may not be the project's own
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from core.cli.bootstrap import use_project_environment

    use_project_environment()

from rich.console import Console

from benchmarks.record import gate, traffic
from benchmarks.record.files import Results
from benchmarks.record.rows import Row
from benchmarks.record.table import engines, notes, summary, table_of
from benchmarks.record.verdict import next_steps, verdict
from core.cli.command import run_command
from core.cli.naming import command
from core.cli.options import add_config_options, config_from, reproducing
from core.cli.parser import Parser
from core.course import course, current
from core.errors import GateMissed, UnsupportedEnvironment


def main() -> int:
    """Command line; returns the exit code."""
    return run_command(parser())


def parser(prog: str = "python benchmarks/run.py") -> Parser:
    """The options of this command."""
    made = Parser(prog=prog, description="Latency and accuracy against FP32.")
    add_config_options(made)
    made.add_argument("--json", action="store_true", help="print results.json instead of the table")
    made.add_argument("--wide", action="store_true", help="every column, and every caution in full")
    made.add_argument("--gate", action="store_true", help="exit with 1 when INT8 is slower or less accurate")
    made.set_defaults(run=run)
    return made


def run(arguments: argparse.Namespace) -> None:
    """Measure, write the report, print, and check the limits.

    Raises:
        GateMissed: an engine failed, or `--gate` was given and an INT8 engine misses a limit.
        UnsupportedEnvironment: no engine can be measured here.
    """
    config = config_from(arguments)
    from benchmarks.measure.pipeline import (  # brings torch: wrong input is refused first
        REPORT_STAGE,
        bench,
        stage_names,
    )
    from benchmarks.report.page import write_report

    options = reproducing(arguments)
    with course(stage_names(config)):
        found = bench(config, command("bench", *options))
        if config.bench.sweep.enabled:
            from benchmarks.studies.cost_curves import sweep

            sweep(config, command("sweep", *options))
        current().starts(REPORT_STAGE)
        write_report(found)
    if arguments.json:
        print(found.model_dump_json(indent=2))
    else:
        _show(found, wide=arguments.wide)
    _require_measured(found.rows)
    missed = gate.missed(found.rows, config.bench.gate_drop_points, found.layers, found.noise)
    missed += traffic.missed(found.rows, config.bench.gate_bytes_ratio)
    if arguments.gate and missed:
        fix = "find the layers that cost most with sensitivity_analysis.py, or set bench.gate_drop_points"
        raise GateMissed("INT8 misses a limit", why="; ".join(missed), fix=fix)


def _show(found: Results, *, wide: bool) -> None:
    """The verdict, the table, the cautions, and the verdict again where the eye ends: as the last lines."""
    console, told = Console(), verdict(found)
    lines = [told.headline, *(f"  {check}" for check in told.checks)]
    print("\n".join(lines), end="\n\n")
    several = len(found.caveats) > 1 and not wide
    shown = [row for row in found.rows if wide or row.status == "ok"]  # the notes name the others
    table = table_of(shown, (engines if wide else summary)(found.rows))
    table.print(console, notes(found.rows, () if several else found.caveats))
    if several:
        print(f"{len(found.caveats)} cautions (--wide shows them all): {found.caveats[0]}")
    print("", *lines, *next_steps(found, told.ship), sep="\n")


def _require_measured(rows: Sequence[Row]) -> None:
    """Raise when an engine failed, or when there is nothing that could be measured here; the results are written."""
    failed = [f"{row.name}: {row.reason}" for row in rows if row.status == "failed"]
    if failed:
        raise GateMissed(f"{len(failed)} engines failed", why="; ".join(failed), fix="see the table")
    if not any(row.status == "ok" for row in rows):
        why = "; ".join(f"{row.name}: {row.reason}" for row in rows)
        raise UnsupportedEnvironment("no engine could be measured here", why, f"see `{command('doctor')}`")


if __name__ == "__main__":
    sys.exit(main())
