"""Render report.html again from the results that are there.

python -m benchmarks.report RUN
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.record.files import load
from benchmarks.report.page import write_report
from core.cli import add_config_options, config_from
from core.command import run_cli


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description="Render report.html again.")
    parser.add_argument("run", nargs="?", metavar="RUN", help="name of the run; by default the one of --config")
    add_config_options(parser)
    arguments = parser.parse_args()

    def command() -> None:
        write_report(load(arguments.run or config_from(arguments).run))

    return run_cli(command, debug=arguments.debug)


if __name__ == "__main__":
    sys.exit(main())
