"""From built bundles to table rows: open, time in turns, score, and read the INT8 proof."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks import timing
from benchmarks.accuracy import Accuracy, AccuracyCache, Mask, Prepare, Reference, evaluate
from benchmarks.end_to_end import compared, opened_masks, timing_name
from benchmarks.results import FloatSpeedup, Row, Status, Strip, fastest_int8
from benchmarks.strip import write_strip
from core.artifacts import sha256_file, sha256_json
from core.config import BenchConfig
from core.console import say
from deploy.targets.base import Backend, Bundle, Precision, Session, Tensors
from deploy.tuning.timing import Samples, time_in_turns
from qat.data.base import SegmentationDataset

ACCURACY_FILE = "accuracy.json"
SIMULATED = "simulated"  # name of the stored reference


class Outcome(Protocol):
    """What came of one build, as `deploy.pipeline.ensure` reports it."""

    @property
    def backend(self) -> str: ...
    @property
    def precision(self) -> Precision: ...
    @property
    def bundle(self) -> Bundle | None: ...
    @property
    def status(self) -> str: ...
    @property
    def reason(self) -> str: ...


class MaskOutcome(Outcome, Protocol):
    """The same with the engine from image to mask, where one was built."""

    @property
    def mask(self) -> Bundle | None: ...


@dataclass(frozen=True)
class Validation:
    """What engines are judged on.

    Attributes:
        simulated: masks (images, H, W) of the fake-quantized network that was trained, to compare INT8 with.
        key: JSON that changes whenever scores may.
    """

    dataset: SegmentationDataset
    prepare: Prepare
    num_classes: int
    simulated: Mask | None
    key: Any


@dataclass(frozen=True)
class Engine:
    """A row in the making, and the session if its status is "ok"."""

    row: Row
    session: Session | None = None


def measure(
    outcomes: Sequence[MaskOutcome],
    backends: Mapping[str, Backend],
    validation: Validation,
    bench: BenchConfig,
    folder: Path,
) -> tuple[list[Row], Strip | None]:
    """One row per outcome, in their order, and the example images.

    Args:
        backends: by name, at least those of outcomes with a bundle.
        folder: keeps the accuracy cache and the images.
    """
    with ExitStack() as stack:
        image = validation.prepare(validation.dataset[0].image)[np.newaxis]
        engines = [stack.enter_context(opened(outcome, backends, image)) for outcome in outcomes]
        sessions = {engine.row.name: engine.session for engine in engines if engine.session is not None}
        if not sessions:
            return [engine.row for engine in engines], None
        feeds: dict[str, Tensors] = {name: {session.input_names[0]: image} for name, session in sessions.items()}
        bundles = {e.row.name: o.mask for e, o in zip(engines, outcomes, strict=True) if e.session and o.mask}
        masks = opened_masks(stack, bundles, backends, validation.dataset)
        for name, session in masks.items():
            feeds[timing_name(name)] = {session.input_names[0]: validation.dataset[0].image[np.newaxis]}
        turns = sessions | {timing_name(name): session for name, session in masks.items()}
        samples = time_in_turns(turns, feeds, bench)
        scores = score(engines, validation, AccuracyCache(folder / ACCURACY_FILE))
        rows = [completed(engine.row, samples, scores) for engine in engines]
        prepare, images = validation.prepare, bench.strip_images
        rows = compared(rows, masks, sessions, samples, validation.dataset, prepare, images)
        best = fastest_int8(rows)
        if best is None:
            return rows, None
        pair = sessions[f"{best.backend} fp32"], sessions[best.name]
        strip = write_strip(folder, best.backend, pair, validation.dataset, validation.prepare, bench.strip_images)
        return rows, strip


@contextmanager
def opened(outcome: Outcome, backends: Mapping[str, Backend], image: NDArray[np.float32]) -> Iterator[Engine]:
    """Read the layer proof, open the engine and run it once; what goes wrong becomes the row's status and reason."""
    if outcome.bundle is None:
        status: Status = "unavailable" if outcome.status == "unavailable" else "failed"
        yield Engine(Row(backend=outcome.backend, precision=outcome.precision, status=status, reason=outcome.reason))
        return
    backend, bundle = backends[outcome.backend], outcome.bundle
    with ExitStack() as stack:
        row = Row(
            backend=outcome.backend,
            precision=outcome.precision,
            status="ok",
            engine_size_bytes=bundle.size_bytes,
            engine_sha256=bundle_sha256(bundle.dir),
        )
        session = None
        try:
            convs = [layer for layer in backend.layers(bundle) if layer.kind == "Conv"]
            int8 = sum(layer.precision == "int8" for layer in convs)
            row = row.model_copy(update={"convs_total": len(convs), "convs_int8": int8})
            if (blocked := backend.runnable(outcome.precision)) is not None:
                reason = "; fix: ".join(filter(None, (blocked.why, blocked.fix)))
                row = row.model_copy(update={"status": "built", "reason": reason})
            else:
                trial = stack.enter_context(backend.open(bundle))
                trial.run({trial.input_names[0]: image})
                session = trial
        except Exception as error:  # vendor runtimes raise what they like; one broken engine must not hide the others
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            row = row.model_copy(update={"status": "failed", "reason": reason})
            say(f"{row.name} failed: {reason}")
        yield Engine(row, session)


def bundle_sha256(folder: Path) -> str:
    """Hash of a bundle: names and contents of all its files, the manifest (so also the precision) included."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return sha256_json({path.relative_to(folder).as_posix(): sha256_file(path) for path in files})


def score(engines: Sequence[Engine], validation: Validation, cache: AccuracyCache) -> dict[str, Accuracy]:
    """Accuracy by row name, and agreement with the references; computed only where not cached."""
    rows = {engine.row.name: engine.row for engine in engines if engine.session is not None}
    sessions = {engine.row.name: engine.session for engine in engines if engine.session is not None}
    keys = {name: _cache_key(row, rows.get(_fp32_name(row)), validation) for name, row in rows.items()}
    scores = {name: cached for name, key in keys.items() if (cached := cache.get(key)) is not None}
    for backend in dict.fromkeys(row.backend for row in rows.values()):
        stale = {name: sessions[name] for name, row in rows.items() if row.backend == backend and name not in scores}
        if stale:
            references: dict[str, Reference] = {n: sessions[n] for n in (f"{backend} fp32",) if n in sessions}
            if validation.simulated is not None:
                references[SIMULATED] = validation.simulated
            dataset, prepare, num_classes = validation.dataset, validation.prepare, validation.num_classes
            scores |= evaluate(stale, references, dataset, prepare, num_classes)
            cache.keep({keys[name]: found for name, found in scores.items()})
    return scores


def _cache_key(row: Row, fp32: Row | None, validation: Validation) -> str:
    return sha256_json([row.name, row.engine_sha256, fp32.engine_sha256 if fp32 else None, validation.key])


def completed(row: Row, samples: Mapping[str, Samples], scores: Mapping[str, Accuracy]) -> Row:
    """Fill in what was measured, and the comparisons with the float engines of the same backend."""
    if row.name not in samples:
        return row
    own, accuracy, fp32 = samples[row.name], scores[row.name], _fp32_name(row)
    return row.model_copy(
        update={
            "latency_ms": timing.summarize(own),
            "throughput_per_s": timing.throughput_per_s(own, batch=1),
            "speedup_vs_fp32": timing.speedup(samples[fp32], own) if fp32 in samples else None,
            "speedup_vs_float": _speedup_vs_float(row, samples) if row.precision == "int8" else None,
            "miou": accuracy.miou,
            "delta_miou": accuracy.miou - scores[fp32].miou if fp32 in scores else None,
            "delta_miou_95": accuracy.change_95.get(fp32),
            "per_class_iou": accuracy.per_class_iou,
            "pixel_accuracy": accuracy.pixel_accuracy,
            "pixel_agreement_fp32": accuracy.agreement.get(fp32),
            "pixel_agreement_simulated": accuracy.agreement.get(SIMULATED) if row.precision == "int8" else None,
        }
    )


def _speedup_vs_float(row: Row, samples: Mapping[str, Samples]) -> FloatSpeedup | None:
    precisions: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
    medians = {p: float(np.median(samples[n])) for p in precisions if (n := f"{row.backend} {p}") in samples}
    if not medians:
        return None
    fastest = min(medians, key=lambda precision: medians[precision])
    ratio = timing.speedup(samples[f"{row.backend} {fastest}"], samples[row.name])
    return FloatSpeedup(baseline=fastest, **ratio.model_dump())


def _fp32_name(row: Row) -> str:
    return f"{row.backend} fp32"
