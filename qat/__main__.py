"""`python -m qat`: train, quantize, calibrate, export, evaluate and describe a run's network."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from core.cli.command import run_command
from core.cli.naming import command
from core.cli.options import add_config_options, config_from, points, reproducing, seconds
from core.cli.parser import Parser
from core.cli.verbs import QAT, VERBS
from core.course import course
from core.files.paths import RunPaths

OTHER_NAMES = {"train": ["run"], "ranges": ["calibrate"]}


def main() -> int:
    """Parse the command line and run the command; returns the exit code."""
    return run_command(parser())


def parser(prog: str = "python -m qat") -> Parser:
    """The parser of every command of this package."""
    epilog = "train and ranges may be started by torchrun or accelerate launch"
    made = Parser(prog=prog, description=__doc__, epilog=epilog)
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    for name, verb in VERBS.items():
        if verb.module == QAT:
            aliases = OTHER_NAMES.get(name, [])
            added: Parser = commands.add_parser(name, help=verb.about, description=verb.about, aliases=aliases)
            added.add_argument("config_file", type=Path, nargs="?", metavar="CONFIG", help="as --config")
            add_config_options(added)
            added.add_argument("--json", action="store_true", help="print the result as JSON")
            _ADD.get(name, lambda _: None)(added)
            added.set_defaults(run=_RUN[name])
    return made


def _add_checkpoint(added: Parser, default: str) -> None:
    what = f"calibrated.pt or qat.pt; default: {default}"
    added.add_argument("checkpoint_file", type=Path, nargs="?", metavar="CHECKPOINT", help=what)
    added.add_argument("--checkpoint", type=Path, metavar="FILE", help=f"the same by name; default: {default}")


def _add_export(added: Parser) -> None:
    _add_checkpoint(added, "runs/RUN/qat.pt")
    added.add_argument("--output", type=Path, metavar="FILE", help="default: beside the checkpoint, as .onnx")


def _add_evaluate(added: Parser) -> None:
    _add_checkpoint(added, "FP32")
    what = "build the checkpoint's INT8 engine and score it, too, such as openvino"
    added.add_argument("--backend", metavar="NAME", help=what)


def _add_ship(added: Parser) -> None:
    what = "points of the metric below FP32 that the interval may reach"
    added.add_argument("--tolerance", type=points, default=0.5, metavar="POINTS", help=what)
    added.add_argument("--budget", type=seconds, metavar="TIME", help="begin nothing after it, such as 20m")


def _train(arguments: argparse.Namespace) -> None:
    config = _config(arguments)
    from qat.pipeline import run as pipeline

    with course(pipeline.STAGES):
        pipeline.ensure(config)
    paths = RunPaths(config.run)
    why = json.loads(paths.decision.read_text(encoding="utf-8"))["why"]
    files = {"checkpoint": paths.qat_checkpoint, "network": paths.trained_onnx, "plan": paths.plan}
    _print_made(arguments, {**files, "decision": why})


def _fp32(arguments: argparse.Namespace) -> None:
    config = _config(arguments)
    from qat.pipeline import run as pipeline

    with course(pipeline.FP32_STAGES):
        pipeline.ensure_fp32(config)
    paths = RunPaths(config.run)
    _print_made(arguments, {"checkpoint": paths.fp32_checkpoint, "network": paths.float_onnx})


def _ranges(arguments: argparse.Namespace) -> None:
    config = _config(arguments)
    from qat.pipeline import run as pipeline
    from qat.pipeline import single_steps

    with course([*pipeline.FP32_STAGES, "calibration"]):
        made = single_steps.calibrate(config)
    _print_made(arguments, {"checkpoint": made})


def _export(arguments: argparse.Namespace) -> None:
    config = _config(arguments)
    from qat.pipeline import run as pipeline
    from qat.pipeline import single_steps

    pipeline.ensure_fp32(config)
    checkpoint = arguments.checkpoint or arguments.checkpoint_file or RunPaths(config.run).qat_checkpoint
    target = arguments.output or checkpoint.with_suffix(".onnx")
    single_steps.export(config, checkpoint, target)
    _print_made(arguments, {"network": target})


def _evaluate(arguments: argparse.Namespace) -> None:
    config = _config(arguments)
    from qat.pipeline import run as pipeline
    from qat.pipeline import single_steps

    pipeline.ensure_fp32(config)
    checkpoint = arguments.checkpoint or arguments.checkpoint_file
    if not arguments.backend:
        print(json.dumps(single_steps.score(config, checkpoint).to_json(), indent=2))
        return
    from rich.console import Console

    from qat.pipeline.score_engine import evaluate_engine, table_of

    rows = evaluate_engine(config, checkpoint or RunPaths(config.run).qat_checkpoint, arguments.backend)
    if arguments.json:
        print(json.dumps([row.to_json() for row in rows], indent=2))
    else:
        table_of(rows).print(Console())


def _summary(arguments: argparse.Namespace) -> None:
    config = _config(arguments)
    from qat.evaluation.summary import print_summary, summaries

    found = summaries(config)
    if arguments.json:
        print(json.dumps([vars(each) for each in found], indent=2))
    else:
        print_summary(found, config.model.name)


def _ship(arguments: argparse.Namespace) -> None:
    config = _config(arguments)
    from qat.ship import report
    from qat.ship.climb import STAGES, ship

    with course(STAGES):
        found = ship(config, arguments.tolerance, arguments.budget)
    line = command("ship", *reproducing(arguments), "--tolerance", f"{arguments.tolerance:g}")
    target = report.write(found, config, line)
    print(json.dumps(report.to_json(found, config, line), indent=2) if arguments.json else report.text(found))
    if not arguments.json:
        print(f"results: {target}")
    report.require_shipped(found)


_ADD = {"export": _add_export, "evaluate": _add_evaluate, "ship": _add_ship}
_RUN = {
    "train": _train,
    "fp32": _fp32,
    "ranges": _ranges,
    "export": _export,
    "evaluate": _evaluate,
    "summary": _summary,
    "ship": _ship,
}


def _config(arguments: argparse.Namespace) -> Any:
    arguments.config = arguments.config_file or arguments.config
    return config_from(arguments)


def _print_made(arguments: argparse.Namespace, made: dict[str, Any]) -> None:
    """One line a file, or JSON; of several processes only the first one prints."""
    from qat.processes.stages import is_main

    if not is_main():
        return
    texts = {name: str(value) for name, value in made.items()}
    if arguments.json:
        print(json.dumps(texts, indent=2))
    else:
        print("\n".join(f"{name}: {text}" for name, text in texts.items()))


if __name__ == "__main__":
    sys.exit(main())
