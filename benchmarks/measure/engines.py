"""Turns built bundles into rows: opens and times them in turns, scores them, and counts INT8 convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.measure import latency
from benchmarks.measure.accuracy import Accuracy, AccuracyCache, Reference, agreement, evaluate
from benchmarks.measure.example_images import write_examples
from benchmarks.measure.validation import Validation
from benchmarks.record.details import Examples
from benchmarks.record.rows import ImageToMask, Row, fastest_int8
from core.config import BenchConfig
from core.console import say
from core.errors import UnsupportedEnvironment, one_line
from core.files.artifacts import sha256_file, sha256_json
from deploy.bundle.types import Bundle, Precision
from deploy.pipeline import BuildOutcome
from deploy.targets import title_of
from deploy.targets.base import Backend, Session, Tensors, Unavailable
from deploy.targets.layer_work import work_of
from deploy.tuning.timing import Samples, paired_ratio, time_in_turns

SIMULATED = "simulated"  # name of the stored reference


@dataclass(frozen=True)
class Candidate:
    """An engine to measure; for a baseline, also its toolkit and settings."""

    outcome: BuildOutcome
    tool: str = ""
    settings: str = ""


@dataclass(frozen=True)
class Engine:
    """An unfinished row and its opened sessions: the network's, and the image → mask engine's."""

    row: Row
    session: Session | None = None
    mask: Session | None = None


def measure(
    candidates: Sequence[Candidate],
    backends: Mapping[str, Backend],
    validation: Validation,
    bench: BenchConfig,
    cache: Path,
    examples: Path | None = None,
) -> tuple[list[Row], Examples | None]:
    """One row per candidate, in their order, and the example images.

    Args:
        backends: by name, at least those of candidates with a bundle.
        cache: file that stores scores for the next run.
        examples: folder for the example images of the fastest INT8 engine.
    """
    with ExitStack() as stack:
        engines = [open_engine(stack, candidate, backends, validation) for candidate in candidates]
        sessions = {engine.row.name: engine.session for engine in engines if engine.session is not None}
        if not sessions:
            return [engine.row for engine in engines], None
        masks = {_mask_name(engine.row): engine.mask for engine in engines if engine.mask is not None}
        image, rgb = validation.example, validation.dataset[0].image[np.newaxis]
        feeds: dict[str, Tensors] = {name: {session.input_names[0]: image} for name, session in sessions.items()}
        feeds |= {name: {session.input_names[0]: rgb} for name, session in masks.items()}
        samples = time_in_turns(sessions | masks, feeds, bench)
        scores = score(engines, validation, AccuracyCache(cache))
        rows = [_completed(engine, samples, scores, validation, bench.strip_images) for engine in engines]
        best = fastest_int8(rows)
        if best is None or examples is None:
            return rows, None
        pair = sessions[_fp32_name(best)], sessions[best.name]
        return rows, write_examples(examples, best.engine, pair, validation, bench.strip_images)


def open_engine(
    stack: ExitStack, candidate: Candidate, backends: Mapping[str, Backend], validation: Validation
) -> Engine:
    """Count INT8 convolutions, open the engine and run it once; an error becomes the row's status and reason.

    Args:
        stack: closes the sessions.
    """
    outcome, backend = candidate.outcome, backends.get(candidate.outcome.backend)
    row = Row(
        backend=outcome.backend,
        product=title_of(outcome.backend),
        precision=outcome.precision,
        tool=candidate.tool,
        settings=candidate.settings,
        status="unavailable" if outcome.status == "unavailable" else "failed",
        reason=outcome.reason,
    )
    bundle = outcome.bundle
    if bundle is None or backend is None:
        return Engine(row)
    row = row.model_copy(update={"engine_size_bytes": bundle.size_bytes, "engine_sha256": bundle_sha256(bundle.dir)})
    try:
        layers = backend.layers(bundle)
        convs = [layer for layer in layers if layer.kind == "Conv"]
        int8 = sum(layer.precision == "int8" for layer in convs)
        row = row.model_copy(update={"convs_total": len(convs), "convs_int8": int8, "work": work_of(layers)})
        if (blocked := backend.runnable(outcome.precision)) is not None:
            return Engine(row.model_copy(update={"status": "unavailable", "reason": str(blocked)}))
        session = stack.enter_context(backend.open(bundle))
        session.run({session.input_names[0]: validation.example})
    except UnsupportedEnvironment as error:
        reason = str(Unavailable(f"{error.what}: {error.why}" if error.why else error.what, error.fix))
        return Engine(row.model_copy(update={"status": "unavailable", "reason": reason}))
    except Exception as error:  # vendor runtimes raise any type; one broken engine must not hide other engines
        say(f"{row.name} failed: {one_line(error)}")
        return Engine(row.model_copy(update={"status": "failed", "reason": one_line(error)}))
    mask = _open_mask(stack, row, outcome.mask, backend, validation) if outcome.mask else None
    return Engine(row.model_copy(update={"status": "ok"}), session, mask)


def _open_mask(stack: ExitStack, row: Row, bundle: Bundle, backend: Backend, validation: Validation) -> Session | None:
    """The opened image → mask engine; on an error None, after a message, since the row does not depend on it."""
    try:
        session = stack.enter_context(backend.open(bundle))
        session.run({session.input_names[0]: validation.dataset[0].image[np.newaxis]})
    except Exception as error:  # any type, as above
        say(f"{_mask_name(row)} failed: {one_line(error)}")
        return None
    return session


def bundle_sha256(folder: Path) -> str:
    """Hash of a bundle: names and contents of all its files, including the manifest and so the precision."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return sha256_json({path.relative_to(folder).as_posix(): sha256_file(path) for path in files})


def score(engines: Sequence[Engine], validation: Validation, cache: AccuracyCache) -> dict[str, Accuracy]:
    """Accuracy by row name, with agreement with FP32 and the simulation; cached values are reused."""
    opened = {engine.row.name: engine for engine in engines if engine.session is not None}
    hashes = {name: engine.row.engine_sha256 for name, engine in opened.items()}
    keys = {
        name: sha256_json([name, hashes[name], hashes.get(_fp32_name(engine.row)), validation.key])
        for name, engine in opened.items()
    }
    scores = {name: cached for name, key in keys.items() if (cached := cache.get(key)) is not None}
    for fp32 in dict.fromkeys(_fp32_name(engine.row) for engine in opened.values()):
        own = {name: e.session for name, e in opened.items() if _fp32_name(e.row) == fp32 and e.session is not None}
        stale = {name: session for name, session in own.items() if name not in scores}
        if stale:
            references: dict[str, Reference] = {fp32: own[fp32]} if fp32 in own else {}
            if validation.simulated is not None:
                references[SIMULATED] = validation.simulated
            scores |= evaluate(
                stale, references, validation.dataset, validation.prepare, validation.num_classes, validation.task
            )
            cache.keep({keys[name]: found for name, found in scores.items()})
    return scores


def _completed(
    engine: Engine,
    samples: Mapping[str, Samples],
    scores: Mapping[str, Accuracy],
    validation: Validation,
    images: int,
) -> Row:
    """The row with its measurements, and with its comparisons inside the same backend."""
    row = engine.row
    if row.name not in samples:
        return row
    own, accuracy, fp32, ours = samples[row.name], scores[row.name], _fp32_name(row), f"{row.engine} int8"
    is_int8 = row.precision == "int8"
    faster = _fastest_float(row, samples) if is_int8 else None
    return row.model_copy(
        update={
            "latency_ms": latency.summarize(own),
            "throughput_per_s": latency.throughput_per_s(own, batch=1),
            "speedup_vs_fp32": paired_ratio(samples[fp32], own) if fp32 in samples else None,
            "fastest_float": faster,
            "speedup_vs_float": paired_ratio(samples[f"{row.engine} {faster}"], own) if faster else None,
            "ours_over_this": paired_ratio(samples[ours], own) if ours in samples and ours != row.name else None,
            "metric": accuracy.metric,
            "score": accuracy.score,
            "values": accuracy.values,
            "delta_score": accuracy.change.get(fp32),
            "per_class": accuracy.per_class,
            "agreement_fp32": accuracy.agreement.get(fp32),
            "agreement_simulated": accuracy.agreement.get(SIMULATED) if row.is_ours else None,
            "image_to_mask": _image_to_mask(engine, samples, validation, images),
        }
    )


def _image_to_mask(
    engine: Engine, samples: Mapping[str, Samples], validation: Validation, images: int
) -> ImageToMask | None:
    if engine.session is None or engine.mask is None:
        return None
    whole = samples[_mask_name(engine.row)]
    return ImageToMask(
        latency_ms=latency.summarize(whole),
        cost=paired_ratio(whole, samples[engine.row.name]),
        pixel_agreement=agreement(engine.mask, engine.session, validation, images),
    )


def _fastest_float(row: Row, samples: Mapping[str, Samples]) -> Precision | None:
    """Precision of the float engine with the lowest median; None without a float engine."""
    precisions: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
    timed = [precision for precision in precisions if f"{row.engine} {precision}" in samples]
    return min(timed, key=lambda precision: float(np.median(samples[f"{row.engine} {precision}"])), default=None)


def _fp32_name(row: Row) -> str:
    return f"{row.engine} fp32"


def _mask_name(row: Row) -> str:
    return f"{row.name} image → mask"
