"""`sensitivity_analysis.py`: from a config to the ranking, the layers that stay float, and the best model."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from core.cli.command import run_command
from core.cli.options import add_common_options
from core.cli.parser import Parser

ABOUT = "Find the layers of a network that suffer from INT8, and those that must stay float to keep its accuracy."


def main() -> int:
    """Parse the command line and run the analysis; see docs/guides/sensitivity.md for the exit codes."""
    return run_command(parser())


def parser(prog: str = "python sensitivity_analysis.py") -> Parser:
    """The options of this command."""
    made = Parser(prog=prog, description=ABOUT)
    made.add_argument("--config", type=Path, default=Path("config.yaml"), metavar="FILE", help="of the analysis")
    made.add_argument("--json", action="store_true", help="print results.json instead of the findings")
    add_common_options(made)
    made.set_defaults(run=_analyse)
    return made


def _analyse(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from qat.processes.stages import is_main
    from qat.sensitivity.config import load_sensitivity_config
    from qat.sensitivity.finish import finish
    from qat.sensitivity.pipeline import analyse
    from qat.sensitivity.report.results import require_met, to_json
    from qat.sensitivity.report.terminal import print_findings

    found = finish(analyse(load_sensitivity_config(arguments.config)))
    if is_main():
        if arguments.json:
            print(json.dumps(to_json(found), indent=2))
        else:
            print_findings(found, Console())
    require_met(found)


if __name__ == "__main__":
    sys.exit(main())
