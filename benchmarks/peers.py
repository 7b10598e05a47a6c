"""Our INT8 against other toolkits': the same FP32 graph and calibration images, one interleaved run.

python benchmarks/peers.py --config FILE [--set a.b=c] [--peers nncf,ort,modelopt,bf16] [--json] [--gate] [--debug]
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

from benchmarks import peer_gate, results
from benchmarks.layer_noise import layer_noise
from benchmarks.peer_results import OURS, save
from benchmarks.peer_table import print_table
from benchmarks.peer_tools.catalog import FAMILIES, selected
from benchmarks.report import write_report
from benchmarks.run import reproducing
from core.cli import add_config_options, config_from
from core.console import say
from core.errors import GateMissed, run_cli
from core.paths import RunPaths
from deploy.targets import get_backend


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python benchmarks/peers.py", description="Our INT8 against other toolkits'.")
    add_config_options(parser)
    parser.add_argument("--peers", default=",".join(FAMILIES), metavar="A,B", help=f"of {', '.join(FAMILIES)}")
    parser.add_argument("--json", action="store_true", help="print peers.json instead of the table")
    parser.add_argument("--gate", action="store_true", help="exit with 1 when the best peer is faster or more accurate")
    arguments = parser.parse_args()
    return run_cli(lambda: run(arguments), debug=arguments.debug)


def run(arguments: argparse.Namespace) -> None:
    """Compare, print, and judge.

    Raises:
        GateMissed: `--gate` was given and an engine of ours misses a limit.
    """
    config = config_from(arguments)
    families = [name.strip() for name in arguments.peers.split(",") if name.strip()]
    selected(families)  # a wrong name is told before torch loads
    from benchmarks.peer_measure import compare

    options = [*reproducing(arguments), "--peers", ",".join(families)]
    found = compare(config, families, shlex.join(["python", "benchmarks/peers.py", *options]))
    folder = RunPaths(config.run).results
    say(f"peers: {save(found, folder)}")
    if (folder / results.FILE_NAME).is_file():
        say(f"report: {write_report(results.load(config.run), folder)}")
    if arguments.json:
        print(found.model_dump_json(indent=2))
    else:
        print_table(found, Console(highlight=False))
    if not arguments.gate:
        return
    ours = {row.name: get_backend(row.backend).target for row in found.rows if row.tool == OURS}
    missed = peer_gate.missed(found.rows, found.max_drop_points, layer_noise(ours, RunPaths(config.run)))
    if missed:
        raise GateMissed(
            "our INT8 does not hold against the peers",
            why="; ".join(missed),
            fix="see which layers differ with `python -m deploy inspect` on both bundles, and docs/peers.md",
        )


if __name__ == "__main__":
    sys.exit(main())
