"""`python -m deploy`: place Q/DQ, build engines, prove INT8, and say what this machine can do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

from core.backends import BACKEND_NAMES
from core.cli.command import run_command
from core.cli.options import add_common_options, add_config_options, count, percent
from core.cli.parser import Parser
from core.cli.verbs import VERBS
from core.config import ActivationCalibrator
from deploy.apps import commands as run
from deploy.apps.lint import cli as lint
from deploy.apps.quantize import cli as quantize
from deploy.hardware.machine import cpu_threads


def main() -> int:
    """Parse the command line and run the command; returns the exit code."""
    return run_command(parser())


def parser(prog: str = "python -m deploy") -> Parser:
    """The parser of every command of this package."""
    made = Parser(prog=prog, description=__doc__)
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    quantize.add_options(_add(commands, "quantize", quantize.run))
    lint.add_options(_add(commands, "lint", lint.run))
    _calibrate(_add(commands, "calibrate", run.calibrate))
    _apply(_add(commands, "apply", run.apply))
    _place(_add(commands, "place", run.place))
    _import_cache(_add(commands, "import-cache", run.import_cache))
    add_config_options(_add(commands, "build", run.build))
    _trace(_add(commands, "trace", run.trace))
    _autotune(_add(commands, "autotune", run.autotune))
    add_common_options(_add(commands, "rules", run.rules))
    _inspect(_add(commands, "inspect", run.inspect))
    _run(_add(commands, "run", run.segment))
    _triton(_add(commands, "triton", run.triton))
    _doctor(_add(commands, "doctor", run.doctor))
    return made


def _add(commands: Any, name: str, function: Any) -> Parser:
    about = VERBS[name].about
    command: Parser = commands.add_parser(name, help=about, description=about)
    command.set_defaults(run=function)
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    return command


def _calibrate(command: Parser) -> None:
    command.add_argument("source", type=Path, help="float ONNX file")
    command.add_argument("images", type=Path, help=".npy float32 NCHW, ready to feed, or a run's calibration.npz")
    command.add_argument("folder", type=Path, help="gets float.onnx and plan.json")
    command.add_argument(
        "--method", choices=get_args(ActivationCalibrator), default="mse", help="turns what was observed into a range"
    )
    _add_placement_options(command)


def _apply(command: Parser) -> None:
    command.add_argument("source", type=Path, help="float ONNX file that the plan was made for")
    command.add_argument("plan", type=Path, help="plan.json")
    command.add_argument("out", type=Path, help="Q/DQ ONNX file to write")
    _add_placement_options(command)


def _place(command: Parser) -> None:
    command.add_argument("source", type=Path, help="Q/DQ ONNX file of any toolkit")
    command.add_argument("out", type=Path, help="ONNX file to write")
    command.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="images for scales that the source lacks, such as a run's calibration.npz, or .npy float32 NCHW, "
        "ready to feed; with them a float model is quantized, too",
    )
    _add_placement_options(command)


def _import_cache(command: Parser) -> None:
    command.add_argument("cache", type=Path, help="calibration cache that TensorRT wrote")
    command.add_argument("source", type=Path, help="float ONNX file that was calibrated")
    command.add_argument("folder", type=Path, help="gets float.onnx, plan.json and TARGET.onnx")
    command.add_argument("--target", default="tensorrt", metavar="NAME", help=f"one of {', '.join(BACKEND_NAMES)}")
    command.add_argument(
        "--skip", action="append", default=[], metavar="PATTERN", help="nodes that stay in float, such as 'head.*'"
    )
    add_common_options(command)


def _add_placement_options(command: Parser) -> None:
    command.add_argument("--target", default="tensorrt", metavar="NAME", help=f"qdq, {', '.join(BACKEND_NAMES)}")
    command.add_argument(
        "--custom", action="append", default=[], type=Path, metavar="FILE", help="rules of your own, such as rules.py"
    )
    command.add_argument(
        "--disable", action="append", default=[], metavar="RULE", help="a rule to leave out, such as residual-add"
    )
    command.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="quantize nothing but these layers, such as 'layer1.*'",
    )
    command.add_argument(
        "--skip",
        action="append",
        default=[],
        metavar="PATTERN",
        help="node names or operator kinds that stay in float, such as 'head.*' or Gemm",
    )
    command.add_argument("--weights", choices=["int8", "float"], default="int8", help="how the file stores weights")
    command.add_argument("--report", action="store_true", help="print every quantized edge and every skip")
    command.add_argument(
        "--dot", type=Path, metavar="FILE", help="write the graph as Graphviz text, too, such as graph.dot"
    )
    add_common_options(command)


def _trace(command: Parser) -> None:
    command.add_argument("name", help="module, tensor or node; a pattern such as 'layer1.*' shows all that it names")
    add_config_options(command)


def _autotune(command: Parser) -> None:
    add_config_options(command)
    command.add_argument("--backend", default="openvino", choices=BACKEND_NAMES, help="engine to be fast on")
    command.add_argument(
        "--objective",
        default="counters",
        choices=("counters", "bytes", "roofline"),
        help="the engine's own time of the layers that a change touches; bytes moved; or the estimate for --device",
    )
    command.add_argument("--device", metavar="NAME", default="RTX 4090", help="of roofline")


def _inspect(command: Parser) -> None:
    command.add_argument(
        "bundle",
        type=Path,
        help="folder of an engine; a .json file that trtexec --exportLayerInfo wrote; of a .plan or .engine file, "
        "what built it",
    )
    command.add_argument(
        "--placement", type=Path, metavar="FILE", help="report that says why nodes are in float; default: the run's"
    )
    command.add_argument(
        "--fail-under", type=percent, metavar="PERCENT", help="exit 1 with fewer convolutions in INT8, such as 95"
    )
    command.add_argument(
        "--device",
        metavar="NAME",
        help="estimate the time on a device of deploy/apps/devices.yaml, such as L4, or of my.yaml",
    )
    command.add_argument("--layers", action="store_true", help="list every layer of the engine, too")
    add_common_options(command)


def _run(command: Parser) -> None:
    command.add_argument("bundle", type=Path, help="folder of an engine, such as engines/RUN/openvino-int8-mask")
    command.add_argument("source", help="image, folder, video file, or number of a camera")
    command.add_argument("-o", "--out", type=Path, default=Path("predictions"), help="folder, or one .png or .mp4")
    command.add_argument(
        "--mode", choices=["latency", "throughput"], default="latency", help="one or many requests at once"
    )
    command.add_argument(
        "--compare", default="", metavar="A,B", help="precisions to show side by side, such as fp32,int8"
    )
    command.add_argument(
        "--save-masks",
        type=Path,
        metavar="DIR",
        help="write label maps, grey PNG files of class indices, here, too, such as masks",
    )
    command.add_argument("--threads", type=count, default=cpu_threads(), help="CPUs for --mode throughput")
    command.add_argument("--frames", type=count, metavar="N", help="stop after N; default: all")
    add_common_options(command)


def _triton(command: Parser) -> None:
    command.add_argument("bundle", type=Path, help="folder of an engine")
    command.add_argument("repository", type=Path, metavar="DIR", help="model repository to write")
    command.add_argument("--name", help="of the model; default: run and engine")
    command.add_argument("--max-batch", type=count, default=8, metavar="N", help="where the engine's batch is dynamic")
    add_common_options(command)


def _doctor(command: Parser) -> None:
    command.add_argument(
        "--data",
        action="append",
        default=[],
        type=Path,
        metavar="FOLDER",
        help="look for data here too, such as ~/datasets",
    )
    add_common_options(command)


if __name__ == "__main__":
    sys.exit(main())
