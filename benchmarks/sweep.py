"""Cost curves: latency of FP32 and INT8 over batch size and over resolution.

python benchmarks/sweep.py --config FILE [--set a.b=c] [--json] [--debug]
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

from core.cli.command import run_command
from core.cli.naming import command
from core.cli.options import add_config_options, config_from, reproducing
from core.cli.parser import Parser


def main() -> int:
    """Command line; returns the exit code."""
    return run_command(parser())


def parser(prog: str = "python benchmarks/sweep.py") -> Parser:
    """The options of this command."""
    made = Parser(prog=prog, description="Cost curves of FP32 and INT8.")
    add_config_options(made)
    made.add_argument("--json", action="store_true", help="print cost_curves.json instead of a line per point")
    made.set_defaults(run=run)
    return made


def run(arguments: argparse.Namespace) -> None:
    """Measure the curves, put them into the run's report, and print them."""
    config = config_from(arguments)
    from benchmarks.report.page import write_again  # brings torch: a wrong option or config is refused before it loads
    from benchmarks.studies.cost_curves import sweep, table_of

    found = sweep(config, command("sweep", *reproducing(arguments)))
    write_again(config.run)
    if arguments.json:
        print(found.model_dump_json(indent=2))
        return
    table_of(found).print(Console(), [f"caution: {caveat}" for caveat in found.caveats])


if __name__ == "__main__":
    sys.exit(main())
