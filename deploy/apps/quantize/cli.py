"""The options of `python -m deploy quantize`, and what it prints."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from core.cli.naming import command, words_after
from core.cli.options import add_common_options, count, percent
from core.config import ActivationCalibrator
from core.errors import EXIT_ENVIRONMENT, EXIT_GATE_MISSED
from deploy.apps.quantize.options import DEFAULT_SNR_DB, PRESETS, Options, parse_size
from deploy.hardware.machine import cpu_threads

if TYPE_CHECKING:
    from deploy.apps.quantize.result import Result


def add_options(parser: argparse.ArgumentParser) -> None:
    """Everything that `options_of` reads."""
    parser.add_argument("source", type=Path, help="float ONNX: any opset that can be raised, FP32 or FP16")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="pictures, such as photos; or .npy float32 (N, C, H, W)"
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="PATH",
        help="such as labels.csv, lines of picture,class; or a folder of label maps",
    )
    parser.add_argument(
        "--target",
        default="auto",
        metavar="A,B",
        help="backends, such as openvino,onnxruntime; auto: all that run here",
    )
    parser.add_argument("--tolerance", type=percent, metavar="POINTS", help="INT8 may lose, such as 0.5; else exit 1")
    parser.add_argument(
        "--snr",
        type=_decibels,
        default=DEFAULT_SNR_DB,
        metavar="DB",
        help="of the outputs, such as 20; layers go to float below it and above the tolerance",
    )
    parser.add_argument("--preset", choices=list(PRESETS), help="normalisation; default: imagenet")
    parser.add_argument(
        "--mean", type=_numbers, default=(), metavar="R,G,B", help="of x / 255, such as 0.485,0.456,0.406"
    )
    parser.add_argument("--std", type=_numbers, default=(), metavar="R,G,B", help="such as 0.229,0.224,0.225")
    parser.add_argument("--bgr", action="store_true", help="the network takes blue first")
    parser.add_argument(
        "--shape", type=_size, metavar="HxW", help="where the file leaves the size open, such as 224x224"
    )
    parser.add_argument("--layout", choices=["NCHW", "NHWC"], help="where the file leaves it open; default: found out")
    parser.add_argument("--fit", choices=["stretch", "crop"], default="stretch", help="how pictures get the size")
    parser.add_argument("--pictures", type=count, metavar="N", help="how many; default: at most 100")
    parser.add_argument("--calibrator", choices=get_args(ActivationCalibrator), help="default: the closest to FP32")
    parser.add_argument(
        "--skip", action="append", default=[], metavar="PATTERN", help="nodes that stay in float, such as 'head.*'"
    )
    parser.add_argument("--threads", type=count, default=1, help=f"CPUs an engine may use; there are {cpu_threads()}")
    parser.add_argument("--rounds", type=count, default=10, metavar="N", help="of the interleaved timing")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: engines/NAME-OF-THE-FILE")
    add_common_options(parser)


def run(arguments: argparse.Namespace) -> int | None:
    """Quantize, print the comparison, and check the tolerance."""
    from deploy.apps.quantize.command import quantize, require_tolerance

    options = options_of(arguments)
    result = quantize(options, command("quantize", *words_after("quantize")))
    show(result, as_json=arguments.json)
    if not arguments.json:
        print(f"engines, quantize.json, report.html: {options.out}")
        if result.best is not None:
            print(f"next: {command('inspect', result.best.folder)}")
    if options.tolerance is not None:
        require_tolerance(result.rows, options.tolerance)
    if any(row.status == "failed" for row in result.rows):
        return EXIT_GATE_MISSED
    return None if any(row.folder for row in result.rows) else EXIT_ENVIRONMENT


def show(result: Result, *, as_json: bool) -> None:
    """Print the result as JSON, or as tables with the verdict."""
    from rich.console import Console

    if as_json:
        print(json.dumps(result.to_json(), indent=2))
    else:
        result.print(Console(highlight=False, soft_wrap=True))


def options_of(arguments: argparse.Namespace) -> Options:
    """The arguments by name."""
    same = ("source", "data", "labels", "tolerance", "preset", "mean", "std", "bgr", "layout", "fit", "pictures")
    return Options(
        **{key: getattr(arguments, key) for key in (*same, "calibrator", "skip", "threads", "rounds")},
        out=arguments.out or Path("engines") / arguments.source.stem,
        targets=tuple(name.strip() for name in arguments.target.split(",") if name.strip()),
        size=arguments.shape,
        snr_db=arguments.snr,
    )


def _decibels(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of decibels")
    return value


def _numbers(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not numbers with commas between") from error
    if len(values) not in (1, 3):
        raise argparse.ArgumentTypeError(f"{text!r} has {len(values)} numbers, not 1 or 3")
    return values


def _size(text: str) -> tuple[int, int]:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
