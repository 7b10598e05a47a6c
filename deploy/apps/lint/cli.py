"""The options of `python -m deploy lint`, and what it prints."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from core.cli.options import add_common_options
from core.errors import EXIT_GATE_MISSED
from deploy.apps.lint.finding import SEVERITIES, at_least


def add_options(parser: argparse.ArgumentParser) -> None:
    """Everything that `run` reads."""
    parser.add_argument("source", type=Path, help="Q/DQ ONNX file of any toolkit")
    parser.add_argument(
        "--fix", type=Path, metavar="OUT", help="write the graph that `place` makes, such as fixed.onnx"
    )
    parser.add_argument("--fail-on", choices=[*SEVERITIES, "never"], default="error", help="exit 1 from here on")
    add_common_options(parser)


def run(arguments: argparse.Namespace) -> int | None:
    """Check a graph, print the findings, and write the fixed graph where `--fix` names a file."""
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
