"""`python -m qat`: train, quantize, calibrate, export, evaluate and describe a run's network."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

from core.cli import add_config_options, config_from, points, reproducing, seconds
from core.command import run_cli
from core.console import say
from core.paths import RunPaths

COMMANDS = {
    "train": "FP32 weights and export, then quantization-aware training and Q/DQ export; `run` means the same",
    "fp32": "only the FP32 weights and their export",
    "calibrate": "FP32 weights, then only the ranges: runs/RUN/calibrated.pt",
    "export": "Q/DQ ONNX of a checkpoint with quantizers",
    "evaluate": "score on the validation split: of the FP32 network, or of a checkpoint with quantizers and its engine",
    "ship": "the first engine within a tolerance of FP32: PTQ, then float groups, then QAT (`make ship`)",
    "summary": "parameters, GMACs and convolutions of the network",
}


def main() -> int | None:
    """Parse the command line and run the command."""
    arguments = _parser().parse_args()
    return run_cli(lambda: _run(arguments), debug=arguments.debug)


def _parser() -> argparse.ArgumentParser:
    epilog = "run, train and calibrate may be started by torchrun or accelerate launch"
    parser = argparse.ArgumentParser(prog="python -m qat", description=__doc__, epilog=epilog)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in COMMANDS.items():
        aliases = ["run"] if name == "train" else []
        command = commands.add_parser(name, help=what, description=what, aliases=aliases)
        command.add_argument("config_file", type=Path, nargs="?", metavar="CONFIG", help="as --config")
        add_config_options(command)
        if name in ("export", "evaluate"):
            which = "default: runs/RUN/qat.pt" if name == "export" else "default: FP32"
            what = f"calibrated.pt or qat.pt; {which}"
            command.add_argument("checkpoint_file", type=Path, nargs="?", metavar="CHECKPOINT", help=what)
            command.add_argument("--checkpoint", type=Path, metavar="FILE", help="the same by name")
        if name == "evaluate":
            command.add_argument(
                "--backend", metavar="NAME", help="build the checkpoint's INT8 engine and score it, too"
            )
        if name == "ship":
            what = "points of the metric below FP32 that the interval may reach (default: 0.5)"
            command.add_argument("--tolerance", type=points, default=0.5, metavar="POINTS", help=what)
            command.add_argument("--budget", type=seconds, metavar="TIME", help="begin nothing after it, such as 20m")
            command.add_argument("--json", action="store_true", help="print ship.json instead of the text")
        if name == "export":
            command.add_argument("--output", type=Path, metavar="FILE", help="default: beside the checkpoint, as .onnx")
    return parser


def _run(arguments: argparse.Namespace) -> int | None:
    arguments.config = arguments.config_file or arguments.config
    config = config_from(arguments)
    if arguments.command == "summary":
        from qat.evaluation.summary import print_summary

        print_summary(config)
        return None
    if arguments.command == "ship":
        _ship(arguments)
        return None
    from qat import pipeline, single_steps

    if arguments.command == "calibrate":
        single_steps.calibrate(config)
        return None
    pipeline.ensure_fp32(config)
    if arguments.command in ("train", "run"):
        pipeline.ensure_quantized(config)
    elif arguments.command == "export":
        checkpoint = arguments.checkpoint or arguments.checkpoint_file or RunPaths(config.run).qat_checkpoint
        target = arguments.output or checkpoint.with_suffix(".onnx")
        single_steps.export(config, checkpoint, target)
        say(f"wrote {target}")
    elif arguments.command == "evaluate":
        checkpoint = arguments.checkpoint or arguments.checkpoint_file
        if arguments.backend:
            from qat.score_engine import evaluate_engine

            print(
                "\n".join(evaluate_engine(config, checkpoint or RunPaths(config.run).qat_checkpoint, arguments.backend))
            )
        else:
            print(json.dumps(single_steps.score(config, checkpoint).to_json(), indent=2))
    return None


def _ship(arguments: argparse.Namespace) -> None:
    from qat.ship import report
    from qat.ship.climb import ship

    config = config_from(arguments)
    found = ship(config, arguments.tolerance, arguments.budget)
    command = f"python -m qat ship {shlex.join(reproducing(arguments))} --tolerance {arguments.tolerance:g}"
    target = report.write(found, config, command)
    print(json.dumps(report.to_json(found, config, command), indent=2) if arguments.json else report.text(found))
    say(f"results: {target}")
    report.require_shipped(found)


if __name__ == "__main__":
    sys.exit(main())
