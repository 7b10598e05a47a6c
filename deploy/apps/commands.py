"""The functions that `python -m deploy` calls: each reads its arguments, does the work, and prints the result."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from core.cli.naming import command
from core.errors import EXIT_ENVIRONMENT, EXIT_GATE_MISSED, UserError
from core.nearest import path_hint

if TYPE_CHECKING:
    from deploy.apply.apply import Applied
    from deploy.apps.place import Choices
    from deploy.tuning.objectives import Counted


def build(arguments: argparse.Namespace) -> int | None:
    """Build the engines of a run."""
    from core.cli.options import config_from
    from core.course import course
    from deploy import pipeline
    from deploy.apps.report import outcomes_json, print_outcomes

    config = config_from(arguments)
    with course(pipeline.stage_names(config)):
        outcomes = pipeline.ensure(config)
    if arguments.json:
        _print_json(outcomes_json(outcomes))
    else:
        print_outcomes(outcomes)
    if any(outcome.failed for outcome in outcomes):
        return EXIT_GATE_MISSED
    return None if any(outcome.bundle for outcome in outcomes) else EXIT_ENVIRONMENT


def place(arguments: argparse.Namespace) -> None:
    """Bring a Q/DQ graph to a target's placement."""
    from deploy.apps.place import place

    applied = place(arguments.source, arguments.out, _choices(arguments), arguments.calibration, arguments.dot)
    _print_placement(arguments, applied)


def calibrate(arguments: argparse.Namespace) -> None:
    """Make a plan from images."""
    from core.config import CalibrationConfig
    from deploy.apps.place import make_plan
    from deploy.plan.images import read_images

    config, images = CalibrationConfig(method=arguments.method), read_images(arguments.images)
    network, plan = make_plan(arguments.source, images, arguments.folder, _choices(arguments), config)
    if arguments.json:
        _print_json({"network": str(network), "plan": str(plan)})
    else:
        print(f"wrote {plan}")


def apply(arguments: argparse.Namespace) -> None:
    """Write the Q/DQ graph of a plan."""
    from deploy.apps.place import apply_plan

    applied = apply_plan(arguments.source, arguments.plan, arguments.out, _choices(arguments), arguments.dot)
    _print_placement(arguments, applied)


def import_cache(arguments: argparse.Namespace) -> None:
    """Write the Q/DQ graph of a calibration cache."""
    from deploy.apps.import_cache import import_cache
    from deploy.apps.place import Choices

    choices = Choices(target=arguments.target, skip=arguments.skip)
    found = import_cache(arguments.cache, arguments.source, arguments.folder, choices)
    if arguments.json:
        _print_json(found.to_json())
        return
    print("\n".join(found.lines()))
    print(f"next: {command('lint', str(found.written))}")


def trace(arguments: argparse.Namespace) -> None:
    """Follow a name from the network to the engines."""
    from core.cli.options import config_from
    from deploy.apps.trace import print_trace, trace

    stops = trace(config_from(arguments), arguments.name)
    if arguments.json:
        _print_json([vars(stop) for stop in stops])
    else:
        print_trace(stops)


def autotune(arguments: argparse.Namespace) -> None:
    """Search for the fastest placement."""
    from core.cli.options import config_from
    from core.files.artifacts import read_json
    from deploy.apps.report import print_trials
    from deploy.tuning.autotune import autotune

    found = autotune(config_from(arguments), arguments.backend, _counted(arguments))
    if arguments.json:
        _print_json(read_json(found))
    else:
        print_trials(found)


def rules(arguments: argparse.Namespace) -> None:
    """List the placement rules."""
    from deploy.apps.report import print_rules, rules_json

    if arguments.json:
        _print_json(rules_json())
    else:
        print_rules()


def inspect(arguments: argparse.Namespace) -> None:
    """Read the layers of an engine."""
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
        _print_json({"bundle": bundle and header_json(bundle), **found.to_json(), **told})
    else:
        if bundle is not None:
            print_header(bundle)
        print_inspection(found, layers=arguments.layers)
        if estimates:
            print_estimates(estimates)
    if arguments.fail_under is not None:
        found.require(arguments.fail_under)


def segment(arguments: argparse.Namespace) -> None:
    """Segment pictures with an engine."""
    from deploy.apps.run.command import run

    compare = [name.strip() for name in arguments.compare.split(",") if name.strip()]
    summary = run(
        arguments.bundle,
        arguments.source,
        arguments.out,
        mode=arguments.mode,
        compare=compare,
        threads=arguments.threads,
        limit=arguments.frames,
        masks_to=arguments.save_masks,
    )
    if arguments.json:
        _print_json({**summary.to_json(), "out": str(arguments.out)})


def triton(arguments: argparse.Namespace) -> None:
    """Write a Triton model repository."""
    from deploy.apps.triton import write_repository
    from deploy.bundle.meaning import mask_bundle_beside
    from deploy.bundle.store import read_bundle

    bundle = read_bundle(mask_bundle_beside(read_bundle(arguments.bundle)))
    name = arguments.name or f"{bundle.dir.absolute().parent.name}-{bundle.dir.name}"
    model = write_repository(bundle, arguments.repository, name, arguments.max_batch)
    if arguments.json:
        _print_json({"model": str(model)})
    else:
        print(f"model: {model}")


def doctor(arguments: argparse.Namespace) -> int | None:
    """Look at this machine."""
    from deploy.apps.doctor import examine, print_diagnosis

    for folder in arguments.data:
        if not folder.is_dir():
            raise UserError(f"no folder {folder}", fix=path_hint(folder, "give --data a folder that is there"))
    found = examine(arguments.data)
    if arguments.json:
        _print_json(found.to_json())
    else:
        print_diagnosis(found)
    return None if found.builds else EXIT_ENVIRONMENT


def _counted(arguments: argparse.Namespace) -> Counted | None:
    """The cost that autotune counts; None for the engine's own counters."""
    from deploy.apps.roofline import estimate, find_device
    from deploy.targets import get_backend
    from deploy.tuning.objectives import Counted, moved

    if arguments.objective == "bytes":
        return Counted(get_backend(arguments.backend), "bytes", moved)
    if arguments.objective == "roofline":
        name, device = find_device(arguments.device)
        backend = get_backend(arguments.backend)
        return Counted(backend, f"roofline {name}", lambda layers: estimate(layers, "int8", name, device).us)
    return None


def _choices(arguments: argparse.Namespace) -> Choices:
    from deploy.apps.place import Choices

    keys = ("target", "custom", "disable", "only", "skip", "weights")
    return Choices(**{key: getattr(arguments, key) for key in keys})


def _print_placement(arguments: argparse.Namespace, applied: Applied) -> None:
    from deploy.apps.report import placement_json, print_placement

    if arguments.json:
        _print_json({"out": str(arguments.out), **placement_json(applied)})
    else:
        print_placement(applied, detailed=arguments.report)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))
