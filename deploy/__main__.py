"""`python -m deploy`: place Q/DQ, build engines, prove INT8, and say what this machine can do."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from core.backends import BACKEND_NAMES
from core.cli import add_config_options, config_from, count, percent
from core.command import run_cli
from core.config import ActivationCalibrator
from core.errors import EXIT_ENVIRONMENT, EXIT_GATE_MISSED, UserError
from deploy.apps.lint import cli as lint
from deploy.apps.quantize import cli as quantize
from deploy.hardware.machine import cpu_threads

if TYPE_CHECKING:
    from deploy.apps.place import Choices


def main() -> int | None:
    """Parse the command line and run the command."""
    arguments = _parser().parse_args()
    return run_cli(lambda: arguments.run(arguments), debug=arguments.debug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy", description=__doc__)
    commands = parser.add_subparsers(required=True)

    build = commands.add_parser("build", help="place, verify and build the run's engines (`make engine`)")
    add_config_options(build)
    build.set_defaults(run=_build)

    quantize.add_command(commands)
    lint.add_command(commands)

    cache = commands.add_parser("import-cache", help="a TensorRT calibration cache and its ONNX to a Q/DQ graph")
    cache.add_argument("cache", type=Path)
    cache.add_argument("source", type=Path, help="the float ONNX that was calibrated")
    cache.add_argument("folder", type=Path, help="gets float.onnx, plan.json and TARGET.onnx")
    cache.add_argument("--target", default="tensorrt", metavar="NAME")
    cache.add_argument("--skip", action="append", default=[], metavar="PATTERN", help="nodes that stay in float")
    cache.add_argument("--debug", action="store_true")
    cache.set_defaults(run=_import_cache)

    place = commands.add_parser("place", help="bring any Q/DQ ONNX to a target's placement")
    place.add_argument("source", type=Path)
    place.add_argument("out", type=Path)
    place.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="images for scales that the source lacks: .npy float32 NCHW, "
        "ready to feed, or a run's calibration.npz; with them a float model is quantized, too",
    )
    _add_placement_options(place)
    place.set_defaults(run=_place)

    calibrate = commands.add_parser("calibrate", help="float ONNX and images to float.onnx and plan.json")
    calibrate.add_argument("source", type=Path)
    calibrate.add_argument("images", type=Path, help=".npy float32 NCHW, ready to feed, or a run's calibration.npz")
    calibrate.add_argument("folder", type=Path)
    calibrate.add_argument("--method", choices=get_args(ActivationCalibrator), default="mse")
    _add_placement_options(calibrate)
    calibrate.set_defaults(run=_calibrate)

    apply = commands.add_parser("apply", help="float ONNX and its plan to the Q/DQ graph of a target")
    apply.add_argument("source", type=Path)
    apply.add_argument("plan", type=Path)
    apply.add_argument("out", type=Path)
    _add_placement_options(apply)
    apply.set_defaults(run=_apply)

    trace = commands.add_parser("trace", help="the way of one tensor or layer from the network to the engines")
    trace.add_argument("name", help="module, tensor or node; a pattern of fnmatch shows all that it names")
    add_config_options(trace)
    trace.set_defaults(run=_trace)

    autotune = commands.add_parser("autotune", help="search for the placement that is fastest on an engine here")
    add_config_options(autotune)
    autotune.add_argument("--backend", default="openvino", choices=BACKEND_NAMES, help="default: %(default)s")
    autotune.add_argument(
        "--objective",
        default="counters",
        choices=("counters", "bytes", "roofline"),
        help="the engine's own time of the layers that a change touches; bytes moved; or the estimate for --device "
        "(default: %(default)s)",
    )
    autotune.add_argument("--device", metavar="NAME", default="RTX 4090", help="of roofline; default: %(default)s")
    autotune.set_defaults(run=_autotune)

    rules = commands.add_parser("rules", help="list the placement rules")
    rules.set_defaults(run=_rules, debug=False)

    inspect = commands.add_parser("inspect", help="the INT8 proof of a built engine")
    inspect.add_argument(
        "bundle",
        type=Path,
        help="a bundle's folder; a .json file that trtexec --exportLayerInfo wrote; of a .plan or .engine file, "
        "what built it",
    )
    inspect.add_argument(
        "--placement", type=Path, metavar="FILE", help="report that says why nodes are in float; default: the run's"
    )
    inspect.add_argument("--fail-under", type=percent, metavar="PERCENT", help="exit 1 with fewer convolutions in INT8")
    inspect.add_argument(
        "--device",
        metavar="NAME",
        help="estimate the time on this device of deploy/apps/devices.yaml, or my.yaml",
    )
    inspect.add_argument("--layers", action="store_true", help="list every layer of the engine, too")
    inspect.add_argument("--json", action="store_true", help="print everything found as JSON")
    inspect.add_argument("--debug", action="store_true")
    inspect.set_defaults(run=_inspect)

    run = commands.add_parser("run", help="segment an image, a folder, a video or a camera")
    run.add_argument("bundle", type=Path)
    run.add_argument("source", help="image, folder, video file, or number of a camera")
    run.add_argument("-o", "--out", type=Path, default=Path("predictions"), help="folder, or one .png or .mp4")
    run.add_argument(
        "--mode", choices=["latency", "throughput"], default="latency", help="one or many requests at once"
    )
    run.add_argument("--compare", default="", metavar="fp32,int8", help="precisions to show side by side")
    run.add_argument(
        "--save-masks", type=Path, metavar="DIR", help="write label maps, grey PNG files of class indices, here, too"
    )
    run.add_argument("--threads", type=count, default=cpu_threads(), help="CPUs for --mode throughput")
    run.add_argument("--frames", type=count, metavar="N", help="stop after N")
    run.add_argument("--debug", action="store_true")
    run.set_defaults(run=_run)

    triton = commands.add_parser("triton", help="write a Triton model repository")
    triton.add_argument("bundle", type=Path)
    triton.add_argument("repository", type=Path, metavar="DIR")
    triton.add_argument("--name", help="of the model; by default run and bundle")
    triton.add_argument("--max-batch", type=count, default=8, metavar="N", help="where the engine's batch is dynamic")
    triton.add_argument("--debug", action="store_true")
    triton.set_defaults(run=_triton)

    doctor = commands.add_parser("doctor", help="what this machine can build and run")
    doctor.add_argument(
        "--data", action="append", default=[], type=Path, metavar="FOLDER", help="look for data here too"
    )
    doctor.add_argument("--json", action="store_true", help="print everything found as JSON")
    doctor.set_defaults(run=_doctor, debug=False)
    return parser


def _add_placement_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--target", default="tensorrt", metavar="NAME", help=f"qdq, {', '.join(BACKEND_NAMES)}")
    command.add_argument("--custom", action="append", default=[], type=Path, metavar="FILE", help="rules of your own")
    command.add_argument("--disable", action="append", default=[], metavar="RULE")
    command.add_argument(
        "--only", action="append", default=[], metavar="PATTERN", help="quantize nothing but these layers"
    )
    command.add_argument("--skip", action="append", default=[], metavar="PATTERN", help="node names or operator kinds")
    command.add_argument("--weights", choices=["int8", "float"], default="int8", help="how the file stores weights")
    command.add_argument("--report", action="store_true", help="print every quantized edge and every skip")
    command.add_argument("--dot", type=Path, metavar="FILE", help="write the graph as Graphviz text, too")
    command.add_argument("--debug", action="store_true")


def _build(arguments: argparse.Namespace) -> int | None:
    from deploy import pipeline
    from deploy.apps.report import print_outcomes

    outcomes = pipeline.ensure(config_from(arguments))
    print_outcomes(outcomes)
    if any(outcome.failed for outcome in outcomes):
        return EXIT_GATE_MISSED
    return None if any(outcome.bundle for outcome in outcomes) else EXIT_ENVIRONMENT


def _choices(arguments: argparse.Namespace) -> Choices:
    from deploy.apps.place import Choices

    keys = ("target", "custom", "disable", "only", "skip", "weights")
    return Choices(**{key: getattr(arguments, key) for key in keys})


def _place(arguments: argparse.Namespace) -> None:
    from deploy.apps.place import place
    from deploy.apps.report import print_placement

    applied = place(arguments.source, arguments.out, _choices(arguments), arguments.calibration, arguments.dot)
    print_placement(applied, detailed=arguments.report)


def _import_cache(arguments: argparse.Namespace) -> None:
    from deploy.apps.import_cache import import_cache
    from deploy.apps.place import Choices

    choices = Choices(target=arguments.target, skip=arguments.skip)
    for line in import_cache(arguments.cache, arguments.source, arguments.folder, choices).lines():
        print(line)
    print(f"next: python -m deploy lint {arguments.folder / (arguments.target + '.onnx')}")


def _calibrate(arguments: argparse.Namespace) -> None:
    from core.config import CalibrationConfig
    from core.console import say
    from deploy.apps.place import make_plan
    from deploy.plan.images import read_images

    config, images = CalibrationConfig(method=arguments.method), read_images(arguments.images)
    _, plan = make_plan(arguments.source, images, arguments.folder, _choices(arguments), config)
    say(f"wrote {plan}")


def _apply(arguments: argparse.Namespace) -> None:
    from deploy.apps.place import apply_plan
    from deploy.apps.report import print_placement

    applied = apply_plan(arguments.source, arguments.plan, arguments.out, _choices(arguments), arguments.dot)
    print_placement(applied, detailed=arguments.report)


def _trace(arguments: argparse.Namespace) -> None:
    from deploy.apps.trace import print_trace, trace

    print_trace(trace(config_from(arguments), arguments.name))


def _autotune(arguments: argparse.Namespace) -> None:
    from deploy.apps.report import print_trials
    from deploy.apps.roofline import estimate, find_device
    from deploy.targets import get_backend
    from deploy.tuning.autotune import autotune
    from deploy.tuning.objectives import Counted, moved

    counted = None
    if arguments.objective == "bytes":
        counted = Counted(get_backend(arguments.backend), "bytes", moved)
    elif arguments.objective == "roofline":
        name, device = find_device(arguments.device)
        backend = get_backend(arguments.backend)
        counted = Counted(backend, f"roofline {name}", lambda layers: estimate(layers, "int8", name, device).us)
    print_trials(autotune(config_from(arguments), arguments.backend, counted))


def _rules(_: argparse.Namespace) -> None:
    from deploy.apps.report import print_rules

    print_rules()


def _inspect(arguments: argparse.Namespace) -> None:
    from deploy.apps.inspection import inspect_bundle, inspect_layer_list, layers_beside
    from deploy.apps.report import print_estimates, print_header, print_inspection
    from deploy.apps.roofline import estimate, find_device
    from deploy.apps.roofline import to_json as estimates_json
    from deploy.bundle.header import header_json
    from deploy.bundle.plan_header import read_plan_header
    from deploy.bundle.store import read_bundle
    from deploy.targets import get_backend

    listed = arguments.bundle.suffix == ".json" and arguments.bundle.is_file()
    if arguments.bundle.is_file() and not listed:
        if arguments.fail_under is not None:
            raise UserError(f"{arguments.bundle} is a plan: --fail-under needs a bundle's folder or a list of layers")
        header = read_plan_header(arguments.bundle)
        print(json.dumps(vars(header), indent=2) if arguments.json else f"built with {header}")
        return
    bundle = None if listed else read_bundle(arguments.bundle)
    placement = arguments.placement
    found = inspect_layer_list(arguments.bundle, placement) if bundle is None else inspect_bundle(bundle, placement)
    estimates = []
    if arguments.device is not None:
        name, device = find_device(arguments.device)
        estimates = [estimate(found.layers, bundle.precision if bundle else "as listed", name, device)]
        beside = layers_beside(bundle, get_backend(bundle.backend).precisions) if bundle else {}
        estimates += [estimate(layers, precision, name, device) for precision, layers in beside.items()]
    if arguments.json:
        told = {"estimate": estimates_json(estimates)} if estimates else {}
        print(json.dumps({"bundle": bundle and header_json(bundle), **found.to_json(), **told}, indent=2))
    else:
        if bundle is not None:
            print_header(bundle)
        print_inspection(found, layers=arguments.layers)
        if estimates:
            print_estimates(estimates)
    if arguments.fail_under is not None:
        found.require(arguments.fail_under)


def _run(arguments: argparse.Namespace) -> None:
    from deploy.apps.run.command import run

    compare = [name.strip() for name in arguments.compare.split(",") if name.strip()]
    run(
        arguments.bundle,
        arguments.source,
        arguments.out,
        mode=arguments.mode,
        compare=compare,
        threads=arguments.threads,
        limit=arguments.frames,
        masks_to=arguments.save_masks,
    )


def _triton(arguments: argparse.Namespace) -> None:
    from core.console import say
    from deploy.apps.triton import write_repository
    from deploy.bundle.meaning import mask_bundle_beside
    from deploy.bundle.store import read_bundle

    bundle = read_bundle(mask_bundle_beside(read_bundle(arguments.bundle)))
    name = arguments.name or f"{bundle.dir.absolute().parent.name}-{bundle.dir.name}"
    say(f"model: {write_repository(bundle, arguments.repository, name, arguments.max_batch)}")


def _doctor(arguments: argparse.Namespace) -> int | None:
    from deploy.apps.doctor import examine, print_diagnosis

    absent = [str(folder) for folder in arguments.data if not folder.is_dir()]
    if absent:
        raise UserError(f"no folder {', '.join(absent)}", fix="give --data a folder that is there")
    found = examine(arguments.data)
    if arguments.json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        print_diagnosis(found)
    return None if found.builds else EXIT_ENVIRONMENT


if __name__ == "__main__":
    sys.exit(main())
