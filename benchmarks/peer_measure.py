"""Our engines and the peers' in one interleaved run: same session code, same images, same evaluator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from benchmarks import conditions, environment, peer_build, timing
from benchmarks.accuracy import Accuracy, AccuracyCache, evaluate
from benchmarks.measure import Engine, Outcome, Validation, opened
from benchmarks.peer_results import OURS, PeerResults, PeerRow
from benchmarks.peer_tools.base import Peer
from benchmarks.peer_tools.catalog import FLOAT_FAMILY, selected
from benchmarks.pipeline import validation_of
from core.artifacts import sha256_json
from core.config import BenchConfig, Config, section_dict
from core.paths import RunPaths
from deploy.pipeline import ensure as ensure_engines
from deploy.targets import get_backend
from deploy.targets.base import Backend, Session
from deploy.tuning.timing import Samples, time_in_turns
from qat.pipeline import ensure as ensure_onnx

ACCURACY_FILE = "peers_accuracy.json"


@dataclass(frozen=True)
class Contender:
    """An engine that takes part, and how its row is labelled."""

    outcome: Outcome
    tool: str
    asked: str = ""


def compare(config: Config, families: Sequence[str], command: str) -> PeerResults:
    """Make what is missing or stale, ours and the peers', and measure it all in turns.

    Args:
        families: names from `catalog.FAMILIES`.
        command: shell command that does this again.
    """
    peers = selected(families)
    machine = environment.describe()  # before the build: its load average must not count our own work
    ensure_onnx(config)
    paths = RunPaths(config.run)
    contenders = [*own(ensure_engines(config), families), *foreign(peer_build.ensure(config, peers))]
    backends = {contender.outcome.backend: get_backend(contender.outcome.backend) for contender in contenders}
    validation = validation_of(config, paths)
    before = conditions.look()
    rows = measure(contenders, backends, validation, config.bench, paths.results)
    meanwhile = conditions.between(before, conditions.look())
    return PeerResults(
        run=config.run,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=command,
        config=section_dict(config),
        environment=machine,
        versions=versions(peers),
        val_images=len(validation.dataset),
        calibration_images=config.qat.calibration.images,
        max_drop_points=config.bench.gate_miou_drop,
        caveats=tuple(conditions.caveats(rows, meanwhile, machine.load_1min, machine.cpu_threads)),
        rows=tuple(rows),
    )


def own(outcomes: Iterable[Outcome], families: Sequence[str]) -> list[Contender]:
    """Our INT8 engines and the float ones beside them; BF16 only when asked for."""
    return [
        Contender(outcome, OURS if outcome.precision == "int8" else outcome.precision)
        for outcome in outcomes
        if outcome.precision != "bf16" or FLOAT_FAMILY in families
    ]


def foreign(outcomes: Iterable[peer_build.PeerOutcome]) -> list[Contender]:
    """The peers' engines."""
    return [Contender(outcome, outcome.peer.name, outcome.peer.asked) for outcome in outcomes]


def versions(peers: Iterable[Peer]) -> dict[str, str]:
    """Version by distribution of the peers that are installed."""
    return {name: version for peer in peers if peer.missing() is None for name, version in peer.versions().items()}


def measure(
    contenders: Sequence[Contender],
    backends: Mapping[str, Backend],
    validation: Validation,
    bench: BenchConfig,
    folder: Path,
) -> list[PeerRow]:
    """One row per contender, sorted by backend and then by latency; what was not measured comes last."""
    with ExitStack() as stack:
        image = validation.prepare(validation.dataset[0].image)[np.newaxis]
        engines = [stack.enter_context(opened(contender.outcome, backends, image)) for contender in contenders]
        rows = [_row(contender, engine) for contender, engine in zip(contenders, engines, strict=True)]
        pairs = [(row, engine) for row, engine in zip(rows, engines, strict=True)]
        sessions = {row.name: engine.session for row, engine in pairs if engine.session is not None}
        if not sessions:
            return rows
        feeds = {name: {session.input_names[0]: image} for name, session in sessions.items()}
        samples = time_in_turns(sessions, feeds, bench)
        hashes = {row.name: engine.row.engine_sha256 or "" for row, engine in pairs}
        scores = score(sessions, hashes, validation, AccuracyCache(folder / ACCURACY_FILE))
        return _sorted([completed(row, samples, scores) for row in rows])


def score(
    sessions: Mapping[str, Session], hashes: Mapping[str, str], validation: Validation, cache: AccuracyCache
) -> dict[str, Accuracy]:
    """Accuracy by row name, computed only where not cached, and cached engine by engine: it takes a while."""
    keys = {name: sha256_json([name, hashes[name], validation.key]) for name in sessions}
    scores = {name: cached for name, key in keys.items() if (cached := cache.get(key)) is not None}
    for name in [name for name in sessions if name not in scores]:
        session = {name: sessions[name]}
        scores |= evaluate(session, {}, validation.dataset, validation.prepare, validation.num_classes)
        cache.keep({keys[found]: accuracy for found, accuracy in scores.items()})
    return scores


def completed(row: PeerRow, samples: Mapping[str, Samples], scores: Mapping[str, Accuracy]) -> PeerRow:
    """Fill in what was measured, and the comparisons with ours and with FP32 of the same backend."""
    if row.name not in samples:
        return row
    ours, fp32 = f"{row.backend} {OURS}", f"{row.backend} fp32"
    accuracy = scores[row.name]
    compared = row.name != ours and ours in samples
    return row.model_copy(
        update={
            "latency_ms": timing.summarize(samples[row.name]),
            "ours_over_this": timing.speedup(samples[ours], samples[row.name]) if compared else None,
            "miou": accuracy.miou,
            "delta_miou": accuracy.miou - scores[fp32].miou if fp32 in scores else None,
            "per_class_iou": accuracy.per_class_iou,
        }
    )


def _row(contender: Contender, engine: Engine) -> PeerRow:
    found = engine.row
    return PeerRow(
        tool=contender.tool,
        backend=found.backend,
        precision=found.precision,
        status=found.status,
        asked=contender.asked,
        reason=found.reason,
        engine_size_bytes=found.engine_size_bytes,
        convs_total=found.convs_total,
        convs_int8=found.convs_int8,
    )


def _sorted(rows: Sequence[PeerRow]) -> list[PeerRow]:
    order = list(dict.fromkeys(row.backend for row in rows))
    return sorted(rows, key=lambda r: (order.index(r.backend), r.latency_ms.p50 if r.latency_ms else float("inf")))
