"""The options of `python -m deploy lint`, and what it prints."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from core.errors import EXIT_GATE_MISSED
from deploy.apps.lint.finding import SEVERITIES, at_least


def add_command(commands: Any) -> None:
    """Add `lint` to the subcommands of a parser."""
    parser = commands.add_parser("lint", help="what in a Q/DQ graph TensorRT will refuse, or be slow with, and why")
    parser.add_argument("source", type=Path, help="Q/DQ ONNX of any toolkit")
    parser.add_argument("--fix", type=Path, metavar="OUT", help="write the graph that `place` makes")
    parser.add_argument("--fail-on", choices=[*SEVERITIES, "never"], default="error", help="exit 1 from here on")
    parser.add_argument("--json", action="store_true", help="print every finding as JSON")
    parser.add_argument("--debug", action="store_true")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int | None:
    from deploy.apps.lint.command import lint, shown

    found = lint(arguments.source)
    if arguments.json:
        print(json.dumps([finding.to_json() for finding in found.findings], indent=2))
    else:
        for line in shown(found.findings):
            print(line)
        print(", ".join(f"{number} {severity}" for severity, number in found.counts.items()))
        if found.refusal:
            print(f"`place` refuses the graph: {found.refusal}")
    if arguments.fix:
        found.write(arguments.fix)
        if not arguments.json:
            print(f"wrote {arguments.fix}")
        return None
    level = arguments.fail_on
    failed = level != "never" and any(at_least(finding.severity, level) for finding in found.findings)
    return EXIT_GATE_MISSED if failed else None
