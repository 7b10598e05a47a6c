"""Render report.html again from the results that are there.

python -m benchmarks.report RUN
"""

from __future__ import annotations

import argparse
import json
import sys

from benchmarks.record.files import load
from core.cli.command import run_command
from core.cli.options import add_config_options, config_from
from core.cli.parser import Parser


def main() -> int:
    """Command line; returns the exit code."""
    return run_command(parser())


def parser(prog: str = "python -m benchmarks.report") -> Parser:
    """The options of this command."""
    made = Parser(prog=prog, description="Render report.html again.")
    made.add_argument("name", nargs="?", metavar="RUN", help="name of the run; by default the one of --config")
    add_config_options(made)
    made.add_argument("--json", action="store_true", help="print the path of the page as JSON")
    made.set_defaults(run=run)
    return made


def run(arguments: argparse.Namespace) -> None:
    """Write the page."""
    from benchmarks.report.page import write_report

    page = write_report(load(arguments.name or config_from(arguments).run))
    if arguments.json:
        print(json.dumps({"report": str(page)}))


if __name__ == "__main__":
    sys.exit(main())
