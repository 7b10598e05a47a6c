"""From config to results.json: make the engines that are missing, and measure them all."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.measure import conditions, environment
from benchmarks.measure.engines import Candidate, measure
from benchmarks.measure.layers import joined, layer_noise, placed
from benchmarks.measure.validation import validation_of
from benchmarks.measure.vendor_extras import layer_costs, with_throughput
from benchmarks.record import traffic
from benchmarks.record.details import NamedColor
from benchmarks.record.files import Results
from core.config import Config, section_dict
from core.console import say
from core.course import current
from core.files.artifacts import read_json, sha256_file
from core.files.paths import RunPaths
from deploy.pipeline import BuildOutcome
from deploy.pipeline import ensure as ensure_engines
from deploy.pipeline import stage_names as engine_stages
from deploy.targets import TARGETS, get_backend
from qat.pipeline.run import STAGES as QAT_STAGES
from qat.pipeline.run import ensure as ensure_onnx

ACCURACY_FILE = "accuracy.json"
MEASURE_STAGE, REPORT_STAGE = "measure", "report"


def stage_names(config: Config) -> list[str]:
    """All stages from the FP32 weights to the report."""
    return [*QAT_STAGES, *engine_stages(config), MEASURE_STAGE, REPORT_STAGE]


def bench(config: Config, command: str) -> Results:
    """Make engines that are missing or stale, measure every engine, and write results.json.

    Args:
        command: shell command that does this again, for the report.
    """
    machine = environment.describe()  # before the build: its load average must not count our own work
    ensure_onnx(config)
    outcomes = ensure_engines(config)
    paths = RunPaths(config.run)
    validation = validation_of(config)
    backends = {outcome.backend: get_backend(outcome.backend) for outcome in outcomes}
    candidates = [Candidate(outcome) for outcome in outcomes]
    current().starts(MEASURE_STAGE)
    before = conditions.look()
    rows, examples = measure(
        candidates, backends, validation, config.bench, paths.results / ACCURACY_FILE, paths.results
    )
    meanwhile = conditions.between(before, conditions.look())
    image, dataset = validation.example, validation.dataset
    rows = with_throughput(rows, outcomes, image, machine.cpu_threads, config.bench.throughput_ms)
    colors = zip(dataset.class_names, dataset.colors, strict=True)
    outcome_of = {row.name: outcome for row, outcome in zip(rows, outcomes, strict=True)}
    int8 = {row.name: backends[row.backend].target for row in rows if row.is_ours and row.status == "ok"}
    noise = layer_noise(int8, paths)
    found = Results(
        run=config.run,
        command=command,
        config=section_dict(config),
        environment=machine,
        artifacts=artifact_hashes(paths, outcomes),
        classes=tuple(NamedColor(name=name, color=color) for name, color in colors),
        val_images=len(dataset),
        rows=tuple(rows),
        examples=examples,
        conditions=meanwhile,
        layers=joined(layer_costs(rows, outcomes, image), outcome_of, noise, paths),
        noise=noise,
        placement={name: found for name in TARGETS if (found := placed(paths.placement(name))) is not None},
        decision=read_json(paths.decision)["why"] if paths.decision.is_file() else "",
        caveats=(*conditions.caveats(rows, meanwhile, machine), *traffic.cautions(rows)),
    )
    say(f"results: {found.save()}")
    return found


def artifact_hashes(paths: RunPaths, outcomes: Iterable[BuildOutcome]) -> dict[str, str]:
    """SHA-256 by path of the ONNX files and of everything in the bundles."""
    graphs = (paths.float_onnx, paths.trained_onnx, *(paths.placed(name) for name in TARGETS))
    files = [path for path in graphs if path.is_file()]
    for outcome in outcomes:
        if outcome.bundle is not None:
            files += sorted(path for path in outcome.bundle.dir.rglob("*") if path.is_file())
    return {path.as_posix(): sha256_file(path) for path in files}
