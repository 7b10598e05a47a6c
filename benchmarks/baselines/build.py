"""From a baseline's name to engine bundles: quantize in a process of its own, build with our backends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib import util
from pathlib import Path

from benchmarks.baselines.base import Baseline
from benchmarks.measure.engines import Candidate
from core.config import Config
from core.console import say
from core.errors import UserError, one_line
from core.files.artifacts import write_text
from core.files.paths import ROOT, RunPaths
from core.stages import Stage
from core.stages import ensure as ensure_stage
from deploy.bundle.store import read_bundle
from deploy.bundle.types import BuildOptions
from deploy.pipeline import BuildOutcome, built_with
from deploy.targets import get_backend
from deploy.targets.base import Backend
from qat.tasks import dataset_of

LOG_FILE = "quantize.log"


class QuantizationFailed(Exception):
    """A toolkit's process ended with an error; the message is its last line."""


def ensure(config: Config, baselines: Iterable[Baseline]) -> list[Candidate]:
    """Quantize the run's FP32 graph with every baseline and build it for the config's backends that run here.

    A baseline that is not installed, fails, or writes a model that an engine refuses is an outcome: it never stops the
    others.
    """
    candidates = []
    for baseline in baselines:
        backends = [get_backend(name) for name in baseline.backends if name in config.deploy.backends]
        outcomes = _outcomes(baseline, backends, config, RunPaths(config.run))
        candidates += [Candidate(outcome, baseline.name, baseline.asked) for outcome in outcomes]
    return candidates


def folder_of(baseline: Baseline, paths: RunPaths) -> Path:
    """The folder of a baseline's model, log and bundles."""
    return paths.dir / "baselines" / baseline.name


def _outcomes(baseline: Baseline, backends: Sequence[Backend], config: Config, paths: RunPaths) -> list[BuildOutcome]:
    blocked = {backend.name: baseline.missing() or backend.runnable("int8") for backend in backends}
    found = [
        BuildOutcome(name, "int8", None, "unavailable", str(missing)) for name, missing in blocked.items() if missing
    ]
    usable = [backend for backend in backends if blocked[backend.name] is None]
    if usable:
        try:
            model = _quantized(baseline, config, paths)
        except (QuantizationFailed, UserError) as error:
            say(f"baseline {baseline.name}: failed: {error}")
            return found + [BuildOutcome(backend.name, "int8", None, "failed", str(error)) for backend in usable]
        found += [_built(baseline, backend, model, config, paths) for backend in usable]
    return found


def _quantized(baseline: Baseline, config: Config, paths: RunPaths) -> Path:
    """The baseline's model, made again only if the float network, the images, or the recipe changed."""
    folder = folder_of(baseline, paths)
    recipe = util.find_spec(baseline.module)
    stage = Stage(
        name=f"baseline {baseline.name}",
        outputs=[folder / file for file in baseline.files],
        inputs=(paths.float_onnx, *([Path(recipe.origin)] if recipe is not None and recipe.origin else [])),
        params={
            "settings": dict(baseline.settings),
            "versions": baseline.versions(),
            "images": config.qat.calibration.images,
            "normalization": {"mean": list(config.data.mean), "std": list(config.data.std)},
            "train": dataset_of(config, "train").fingerprint(),
        },
    )
    ensure_stage(stage, paths.manifest, lambda: _quantize(baseline, paths, folder))
    return folder / baseline.file


def _quantize(baseline: Baseline, paths: RunPaths, folder: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.baselines", baseline.name, "--config", str(paths.config)]
    search = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    answer = subprocess.run(
        [*command, "--out", str(folder)],
        env={**os.environ, "PYTHONPATH": search},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    write_text(folder / LOG_FILE, answer.stdout)
    if answer.returncode:
        lines = [line.strip() for line in answer.stdout.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("error: ")]
        last = (errors or lines or ["no message"])[-1]
        raise QuantizationFailed(f"exit code {answer.returncode}: {last} (all of it in {folder / LOG_FILE})")


def _built(baseline: Baseline, backend: Backend, model: Path, config: Config, paths: RunPaths) -> BuildOutcome:
    out = folder_of(baseline, paths) / backend.name
    options = BuildOptions("int8", threads=config.bench.threads, workspace_mib=config.deploy.workspace_mib)
    stage = Stage(
        name=f"baseline {baseline.name} on {backend.name}",
        outputs=(out / "manifest.json",),
        inputs=(model,),
        params={"options": vars(options), "built_with": built_with(backend, options.precision)},
    )

    def build() -> None:
        backend.build(model, out, options)

    try:
        ensure_stage(stage, paths.manifest, build)
    except Exception as error:  # a vendor's builder may raise anything; its row must say so and the others go on
        say(f"{stage.name}: failed: {error}")
        return BuildOutcome(backend.name, "int8", None, "failed", one_line(error))
    return BuildOutcome(backend.name, "int8", read_bundle(out), "ok")
