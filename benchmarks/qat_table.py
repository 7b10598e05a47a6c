"""QAT against PTQ and FP32: rows trained one after another, compared by their engines.

python benchmarks/qat_table.py --config FILE [--set a.b=c] --rows fp32,fp32_extra,ptq:mse,qat:calibrate --seeds 0,1,2

With `--split tuning` the same engines are scored on the images that choices are made on, held aside from train; with
`--split train` on the images of training. A `qat` row is the trained network, whatever PTQ scores. Rows that were
measured before with the same settings are kept; a run that was interrupted continues where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

if __name__ == "__main__":  # run as a file: Python looks in benchmarks/ only, and may not be the project's own
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from core.cli.bootstrap import use_project_environment

    use_project_environment()

from benchmarks.studies.qat_rows import FORMS, RowSpec, parse
from core.backends import BACKEND_NAMES
from core.cli.command import run_command
from core.cli.naming import command as command_line
from core.cli.options import add_config_options, reproducing
from core.cli.parser import Parser
from core.config import load_config
from core.console import say
from core.errors import UserError
from core.files.artifacts import read_json, write_json, write_text
from core.files.paths import RunPaths

PTQ = "ptq:max,ptq:moving_average,ptq:percentile:99.99,ptq:entropy,ptq:mse"
ROWS = f"fp32,fp32_extra,{PTQ},qat:calibrate,qat:stats_only,qat:direct"


def main() -> int:
    """Command line; returns the exit code."""
    return run_command(parser())


def parser(prog: str = "python benchmarks/qat_table.py") -> Parser:
    """The options of this command."""
    made = Parser(prog=prog, description=__doc__.partition("\n")[0])
    add_config_options(made)
    made.add_argument("--rows", default=ROWS, help=f"comma-separated: {FORMS}")
    made.add_argument("--seeds", default="0", help="comma-separated; rows that train are run with each")
    splits = ("val", "train", "tuning")
    made.add_argument("--split", default="val", choices=splits, help="images that the engines are scored on")
    made.add_argument("--backend", default="openvino", choices=BACKEND_NAMES, help="engines that are scored")
    made.add_argument("--json", action="store_true", help="print the rows as JSON")
    made.set_defaults(run=run)
    return made


def run(arguments: argparse.Namespace) -> None:
    """Make every row and write the tables after each, so that an interrupted run leaves what it has."""
    specs = [parse(text) for text in arguments.rows.split(",")]
    seeds = _seeds(arguments.seeds)
    base = load_config(arguments.config, arguments.overrides)
    configs = [
        (spec, _overrides(spec, base.run, seed)) for spec in specs for seed in (seeds if spec.trains else seeds[:1])
    ]
    for _, overrides in configs:  # a wrong row is refused before hours of training
        load_config(arguments.config, [*arguments.overrides, *overrides])
    from benchmarks.studies.qat_markdown import markdown
    from benchmarks.studies.qat_measure import ensure_row  # brings torch
    from qat.pipeline import run as pipeline

    pipeline.ensure_fp32(base)
    checkpoint = f"model.checkpoint={RunPaths(base.run).fp32_checkpoint}"
    table = RunPaths(base.run).results / f"qat_table-{arguments.split}.md"
    own = ("--rows", arguments.rows, "--seeds", arguments.seeds, "--split", arguments.split)
    command = command_line("qat-table", *reproducing(arguments), *own, "--backend", arguments.backend)
    rows = []
    for spec, overrides in configs:
        config = load_config(arguments.config, [*arguments.overrides, checkpoint, *overrides])
        rows.append(ensure_row(spec, config, arguments.backend, base, arguments.split))
        write_json(
            table.with_suffix(".json"), {"command": command, "rows": [row.model_dump(mode="json") for row in rows]}
        )
        write_text(table, markdown(rows, command))
    print(json.dumps(read_json(table.with_suffix(".json")), indent=2) if arguments.json else markdown(rows, command))
    say(f"written: {table} and {table.with_suffix('.json')}")


def _overrides(spec: RowSpec, base: str, seed: int) -> list[str]:
    return [f"run={spec.run(base, seed)}", f"qat.seed={seed}", *spec.overrides]


def _seeds(text: str) -> list[int]:
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError as error:
        raise UserError(f"--seeds {text}", why="not whole numbers separated by commas") from error


if __name__ == "__main__":
    sys.exit(main())
