"""`python -m qat`: train, quantize, evaluate and describe a run's network."""

from __future__ import annotations

import argparse
import json
import sys

from core.cli import add_config_options, config_from
from core.config import Config
from core.errors import run_cli
from core.paths import RunPaths

COMMANDS = {
    "run": "FP32 weights and export, then quantization-aware training and Q/DQ export (`make qat`)",
    "train": "only the FP32 weights and their export; may be started by torchrun or accelerate launch",
    "evaluate": "mIoU of the FP32 network on the validation split",
    "summary": "parameters, GMACs and convolutions of the network",
}


def main() -> int | None:
    """Parse the command line and run the command."""
    arguments = _parser().parse_args()
    return run_cli(lambda: _run(arguments), debug=arguments.debug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m qat", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in COMMANDS.items():
        add_config_options(commands.add_parser(name, help=what, description=what))
    return parser


def _run(arguments: argparse.Namespace) -> int | None:
    config = config_from(arguments)
    if arguments.command == "summary":
        from qat.summary import print_summary

        print_summary(config)
    elif arguments.command == "evaluate":
        _evaluate(config)
    else:
        from qat import pipeline

        pipeline.ensure_fp32(config)
        if arguments.command == "run":
            pipeline.ensure_quantized(config)
    return None


def _evaluate(config: Config) -> None:
    from qat import pipeline
    from qat.data import build_dataset
    from qat.evaluate import evaluate

    pipeline.ensure_fp32(config)
    model = pipeline.float_model(config, RunPaths(config.run))
    data = build_dataset(config.data, "val", seed=config.seed)
    score = evaluate(model, data, config.data, config.model.num_classes)
    print(json.dumps(score.to_json(), indent=2))


if __name__ == "__main__":
    sys.exit(main())
