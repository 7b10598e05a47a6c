"""Compares this project's engines and the baselines' in one interleaved run: same session code, images and
evaluator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from benchmarks.baselines import build
from benchmarks.baselines.base import Baseline
from benchmarks.baselines.catalog import FLOAT_FAMILY, selected
from benchmarks.measure import conditions, environment
from benchmarks.measure.engines import Candidate, measure
from benchmarks.measure.validation import validation_of
from benchmarks.record.files import Comparison
from benchmarks.record.rows import Row
from core.config import Config, section_dict
from core.files.paths import RunPaths
from deploy.pipeline import BuildOutcome
from deploy.pipeline import ensure as ensure_engines
from deploy.targets import get_backend
from qat.pipeline.run import ensure as ensure_onnx

ACCURACY_FILE = "baselines_accuracy.json"


def compare(config: Config, families: Sequence[str], command: str) -> Comparison:
    """Build missing or stale engines, this project's and the baselines', and measure all of them in turns.

    Args:
        families: names from `catalog.FAMILIES`.
        command: shell command that does this again.
    """
    baselines = selected(families)
    machine = environment.describe()  # before the build, whose own work must not count in the load average
    ensure_onnx(config)
    candidates = [*own(ensure_engines(config), families), *build.ensure(config, baselines)]
    backends = {candidate.outcome.backend: get_backend(candidate.outcome.backend) for candidate in candidates}
    validation = validation_of(config)
    before = conditions.look()
    cache = RunPaths(config.run).results / ACCURACY_FILE
    rows, _ = measure(candidates, backends, validation, config.bench, cache)
    meanwhile = conditions.between(before, conditions.look())
    return Comparison(
        run=config.run,
        command=command,
        config=section_dict(config),
        environment=machine,
        conditions=meanwhile,
        caveats=tuple(conditions.caveats(rows, meanwhile, machine)),
        versions=versions(baselines),
        val_images=len(validation.dataset),
        calibration_images=config.qat.calibration.images,
        max_drop_points=config.bench.gate_drop_points,
        rows=tuple(by_latency(rows)),
    )


def own(outcomes: Iterable[BuildOutcome], families: Sequence[str]) -> list[Candidate]:
    """This project's INT8 engines and the float engines of the same backends; BF16 only when its family is chosen."""
    return [
        Candidate(replace(outcome, mask=None))
        for outcome in outcomes
        if outcome.precision != "bf16" or FLOAT_FAMILY in families
    ]


def versions(baselines: Iterable[Baseline]) -> dict[str, str]:
    """Version of each installed baseline, by distribution."""
    present = [baseline for baseline in baselines if baseline.missing() is None]
    return {name: version for baseline in present for name, version in baseline.versions().items()}


def by_latency(rows: Sequence[Row]) -> list[Row]:
    """Rows sorted by backend, then by latency; rows without a latency come last."""
    order = list(dict.fromkeys(row.backend for row in rows))
    return sorted(rows, key=lambda r: (order.index(r.backend), r.latency_ms.p50 if r.latency_ms else float("inf")))
