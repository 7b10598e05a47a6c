"""From config to results: make the engines, measure them, write results.json and report.html."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone

import numpy as np

from benchmarks import conditions, environment, results
from benchmarks.layer_noise import layer_noise
from benchmarks.layers import layer_costs, placed
from benchmarks.measure import Outcome, Validation, measure
from benchmarks.report import write_report
from benchmarks.results import NamedColor, Results, Row
from benchmarks.throughput import with_throughput
from core.artifacts import sha256_file
from core.config import Config, section_dict
from core.console import say
from core.paths import RunPaths
from deploy.pipeline import ensure as ensure_engines
from deploy.targets import TARGETS, get_backend
from qat.data import build_dataset, normalize
from qat.pipeline import ensure as ensure_onnx


def bench(config: Config, command: str) -> Results:
    """Make what is missing or stale, measure every engine, and write the results.

    Args:
        command: shell command that does this again, for the report.
    """
    machine = environment.describe()  # before the build: its load average must not count our own work
    ensure_onnx(config)
    outcomes = ensure_engines(config)
    paths = RunPaths(config.run)
    validation = validation_of(config, paths)
    backends = {outcome.backend: get_backend(outcome.backend) for outcome in outcomes}
    before = conditions.look()
    rows, strip = measure(outcomes, backends, validation, config.bench, paths.results)
    meanwhile = conditions.between(before, conditions.look())
    dataset = validation.dataset
    image = validation.prepare(dataset[0].image)[np.newaxis]
    rows = with_throughput(rows, outcomes, image, machine.cpu_threads, config.bench.throughput_ms)
    found = Results(
        run=config.run,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=command,
        config=section_dict(config),
        environment=machine,
        artifacts=artifact_hashes(paths, outcomes),
        classes=tuple(
            NamedColor(name=name, color=color) for name, color in zip(dataset.class_names, dataset.colors, strict=True)
        ),
        val_images=len(dataset),
        rows=tuple(rows),
        strip=strip,
        conditions=meanwhile,
        layers=layer_costs(rows, outcomes, image),
        noise=layer_noise({row.name: backends[row.backend].target for row in rows if _is_int8(row)}, paths),
        placement={name: found for name in TARGETS if (found := placed(paths.placement(name))) is not None},
        caveats=tuple(conditions.caveats(rows, meanwhile, machine.load_1min, machine.cpu_threads)),
    )
    say(f"results: {results.save(found, paths.results)}")
    say(f"report: {write_report(found, paths.results)}")
    return found


def _is_int8(row: Row) -> bool:
    return row.precision == "int8" and row.status == "ok"


def validation_of(config: Config, paths: RunPaths) -> Validation:
    """The validation set, the masks QAT ended with, and what scores depend on."""
    dataset = build_dataset(config.data, "val", seed=config.seed)
    with np.load(paths.simulated) as stored:
        simulated = stored["labels"]
    return Validation(
        dataset=dataset,
        prepare=lambda image: normalize(image, config.data),
        num_classes=config.model.num_classes,
        simulated=simulated,
        key=[section_dict(config.data), dataset.fingerprint(), sha256_file(paths.simulated)],
    )


def artifact_hashes(paths: RunPaths, outcomes: Iterable[Outcome]) -> dict[str, str]:
    """SHA-256 by path of the ONNX files and of everything in the bundles."""
    files = [
        path
        for path in (paths.float_onnx, paths.trained_onnx, *(paths.placed(name) for name in TARGETS))
        if path.is_file()
    ]
    for outcome in outcomes:
        if outcome.bundle is not None:
            files += sorted(path for path in outcome.bundle.dir.rglob("*") if path.is_file())
    return {path.as_posix(): sha256_file(path) for path in files}
