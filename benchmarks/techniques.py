"""The gain of each technique of post-training quantization, network by network: fidelity of the engine to FP32.

python benchmarks/techniques.py [--networks FILE] [--only A,B] [--backend openvino]

Every calibrator runs alone; then each technique is added to the best of them, alone again. Pictures to calibrate on and
to measure on have none in common. Writes benchmarks/results/techniques/techniques.json and .md.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a file: Python looks in benchmarks/ only, and may not be the project's own
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from core.cli.bootstrap import use_project_environment

    use_project_environment()

import cv2
import yaml
from rich.console import Console

from core.cli.command import run_cli
from core.cli.text_table import Table
from core.config import DataConfig
from core.console import say
from core.files.artifacts import write_json, write_text
from deploy.apply.equalize import depthwise_inputs
from deploy.apps.quantize.budget import Budget, within
from deploy.apps.quantize.choose import METHODS, Chooser, Recipe, Trial, has_floors
from deploy.apps.quantize.cli import add_options, options_of
from deploy.apps.quantize.command import build_options, read_task
from deploy.apps.quantize.engines import Workshop
from deploy.plan.plan import QuantizationPlan
from deploy.targets import get_backend
from deploy.targets.base import Backend
from qat.data import build_dataset

OUT = Path("benchmarks/results/techniques")
BUDGET_DB = 3.0  # above the best recipe: float layers are tried on every network
STREETS = 60


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python benchmarks/techniques.py", description=__doc__)
    parser.add_argument("--networks", type=Path, default=Path("benchmarks/techniques.yaml"), metavar="FILE")
    parser.add_argument("--only", default="", metavar="A,B", help="networks")
    parser.add_argument("--backend", default="openvino")
    parser.add_argument("--debug", action="store_true")
    arguments = parser.parse_args()
    return run_cli(lambda: run(arguments), debug=arguments.debug)


def run(arguments: argparse.Namespace) -> None:
    """Measure every network and print one table."""
    networks = yaml.safe_load(arguments.networks.read_text(encoding="utf-8"))
    wanted = [name for name in arguments.only.split(",") if name] or list(networks)
    backend, found = get_backend(arguments.backend), dict[str, dict[str, Trial]]()
    for name in wanted:
        if not Path(networks[name]["model"]).is_file():
            say(f"{name}: no {networks[name]['model']}; see {arguments.networks}")
            continue
        say(f"{name}:")
        found[name] = dict(measured(networks[name], backend))
        write_json(OUT / f"{name}.json", {title: trial.to_json() for title, trial in found[name].items()})
    if found:
        table = table_of(found)
        table.print(Console(highlight=False, soft_wrap=True), [])
        write_text(OUT / "techniques.md", "\n".join(table.markdown()) + "\n")


def measured(network: dict[str, Any], backend: Backend) -> Iterator[tuple[str, Trial]]:
    """Title and trial of every calibrator, then of every technique added to the best."""
    options = parsed(network)
    task = read_task(options)
    workshop = Workshop(options.out, task.graph, QuantizationPlan(), build_options(task, options))
    chooser = Chooser(workshop, task.parts.calibrate, [backend])
    seen = task.parts.choose, task.choose

    def tried(recipe: Recipe) -> Trial:
        return chooser.trial(recipe, backend, *seen)

    unsigned = workshop.goal(backend).target.unsigned
    plain = [tried(Recipe(method)) for method in METHODS]
    yield from ((trial.recipe.calibrator, trial) for trial in plain)
    best = max(plain, key=lambda trial: trial.closeness)
    if unsigned == "non-negative":
        other = tried(replace(best.recipe, uint8=True))
        yield "+ uint8", other
        best = other if other.gains(best, clearly=True) else best
    techniques: dict[str, dict[str, Any]] = {"+ bias correction": {"bias_correction": True}}
    if has_floors(task.graph):
        techniques["+ floors"] = {"floors": True}
    if depthwise_inputs(task.graph):
        techniques["+ equalized"] = {"equalized": True}
    for title, changes in techniques.items():
        yield title, tried(replace(best.recipe, **changes))
    chosen, *_ = chooser.closest(backend, *seen)
    yield "chosen", chosen
    budget = Budget(min(each.snr_db for each in chosen.outputs) + BUDGET_DB)
    yield f"chosen, SNR budget +{BUDGET_DB:g} dB", within(budget, chosen, chooser, backend, *seen)[0]


def parsed(network: dict[str, Any]) -> Any:
    """Options of `python -m deploy quantize` for a network of the file."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    data = streets() if network["data"] == "streets" else Path(network["data"])
    words = [network["model"], "--data", str(data), "--out", str(OUT), *shlex.split(network.get("options", ""))]
    return options_of(parser.parse_args(words))


def streets() -> Path:
    """A folder of pictures of the embedded street scenes, drawn once."""
    folder = OUT / "streets"
    if not folder.is_dir():
        config = DataConfig(name="streets", height_px=192, width_px=256, val_images=STREETS)
        drawn = build_dataset(config, "val")
        folder.mkdir(parents=True)
        for index in range(len(drawn)):
            cv2.imwrite(str(folder / f"{index:03d}.png"), drawn[index].image[:, :, ::-1])
    return folder


def table_of(found: dict[str, dict[str, Trial]]) -> Table:
    """One column a network: IoU with FP32's masks where it has masks, and the SNR."""
    titles = list(dict.fromkeys(title for trials in found.values() for title in trials))
    lines = [[title, *(_cell(trials.get(title)) for trials in found.values())] for title in titles]
    return Table(["technique", *found], lines)


def _cell(trial: Trial | None) -> str:
    if trial is None:
        return "–"
    ious = [each.iou for each in trial.outputs if each.iou is not None]
    floats = f", {len(trial.recipe.in_float)} float" if trial.recipe.in_float else ""
    iou = f"{min(ious):.2%}, " if ious else ""
    return f"{iou}{min(each.snr_db for each in trial.outputs):.1f} dB{floats}"


if __name__ == "__main__":
    sys.exit(main())
