"""Our INT8 against other toolkits': the same FP32 graph and calibration images, one interleaved run.

python benchmarks/peers.py --config FILE [--set a.b=c] [--baselines nncf,ort,modelopt,bf16] [--json] [--gate] [--debug]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # run as a file: Python looks in benchmarks/ only, and may not be the project's own
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from core.cli.bootstrap import use_project_environment

    use_project_environment()

from rich.console import Console

from benchmarks.baselines.catalog import FAMILIES, selected
from benchmarks.record import gate
from benchmarks.record.table import baselines, comparison_notes, table_of
from core.cli.command import run_command
from core.cli.naming import command
from core.cli.options import add_config_options, config_from, reproducing
from core.cli.parser import Parser
from core.console import say
from core.errors import GateMissed
from core.files.paths import RunPaths
from deploy.targets import get_backend


def main() -> int:
    """Command line; returns the exit code."""
    return run_command(parser())


def parser(prog: str = "python benchmarks/peers.py") -> Parser:
    """The options of this command."""
    made = Parser(prog=prog, description="Our INT8 against other toolkits'.")
    add_config_options(made)
    made.add_argument(
        *("--baselines", "--peers"), default=",".join(FAMILIES), metavar="A,B", help=f"of {', '.join(FAMILIES)}"
    )
    made.add_argument("--json", action="store_true", help="print baselines.json instead of the table")
    made.add_argument("--gate", action="store_true", help="exit with 1 when a baseline is faster or more accurate")
    made.set_defaults(run=run)
    return made


def run(arguments: argparse.Namespace) -> None:
    """Compare, print, and check the limits.

    Raises:
        GateMissed: `--gate` was given and an engine of ours misses a limit.
    """
    config = config_from(arguments)
    families = [name.strip() for name in arguments.baselines.split(",") if name.strip()]
    selected(families)  # a wrong name is refused before torch loads
    from benchmarks.baselines.compare import compare
    from benchmarks.measure.layers import layer_noise
    from benchmarks.report.page import write_again

    options = [*reproducing(arguments), "--baselines", ",".join(families)]
    found = compare(config, families, command("peers", *options))
    say(f"baselines: {found.save()}")
    write_again(config.run)
    if arguments.json:
        print(found.model_dump_json(indent=2))
    else:
        table_of(found.rows, baselines(found.rows), left=2).print(Console(), comparison_notes(found))
    if not arguments.gate:
        return
    ours = {row.name: get_backend(row.backend).target for row in found.rows if row.is_ours}
    noise = layer_noise(ours, RunPaths(config.run))
    missed = gate.missed_against_baselines(found.rows, found.max_drop_points, noise)
    if missed:
        raise GateMissed(
            "our INT8 does not hold against the baselines",
            why="; ".join(missed),
            fix=f"see which layers differ with `{command('inspect')}` on both bundles, and docs/guides/peers.md",
        )


if __name__ == "__main__":
    sys.exit(main())
