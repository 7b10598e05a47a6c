"""`sensitivity_analysis.py`: from a config to the ranking, the layers that stay float, and the best model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from core.command import run_cli

ABOUT = "Find the layers of a network that suffer from INT8, and those that must stay float to keep its accuracy."


def main() -> int:
    """Parse the command line and run the analysis; see docs/guides/sensitivity.md for the exit codes."""
    parser = argparse.ArgumentParser(description=ABOUT)
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), metavar="FILE")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args()
    return run_cli(lambda: _analyse(arguments.config), debug=arguments.debug)


def _analyse(config: Path) -> None:
    from rich.console import Console

    from qat.processes.stages import is_main
    from qat.sensitivity.config import load_sensitivity_config
    from qat.sensitivity.finish import finish
    from qat.sensitivity.pipeline import analyse
    from qat.sensitivity.report.results import require_met
    from qat.sensitivity.report.terminal import print_findings

    found = finish(analyse(load_sensitivity_config(config)))
    if is_main():
        print_findings(found, Console())
    require_met(found)


if __name__ == "__main__":
    sys.exit(main())
