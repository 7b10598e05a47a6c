"""A trial: one candidate as an engine, built, scored on the tuning split against FP32, and timed beside it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from core.config import Config, section_dict
from core.errors import UserError
from core.files.artifacts import read_json, write_json
from core.files.paths import RunPaths
from core.interval import Interval
from core.stages import Stage
from core.stages import ensure as ensure_stage
from core.versions import source_hash
from deploy.pipeline import ensure_engine
from deploy.targets.base import Backend, Bundle, Precision
from deploy.tuning.timing import paired_ratio, time_in_turns
from qat.data import TuningSet, normalize
from qat.data.tuning import groups_of, sequence_of
from qat.evaluation.evidence import Comparison, Evaluator, Score, predictor
from qat.pipeline.contest import require_evidence
from qat.ship.candidate import Candidate
from qat.tasks import dataset_of, task_of, tuning_of

ROUNDS, WARMUP_MS = 7, 1000  # limit while climbing


@dataclass(frozen=True)
class Trial:
    """Measurements of one engine.

    Attributes:
        step, title, backend, run: of the candidate and its engine.
        metric: name of the task's metric.
        score: on the tuning split.
        change: the engine minus FP32 there.
        latency_ms: median. speedup: FP32 of the same backend over it, timed in turns.
        int8, convolutions: number of convolutions in INT8, read from the engine, and of all.
        bundle: folder of the engine.
        seconds: time to make and measure it.
    """

    step: str
    title: str
    backend: str
    run: str
    metric: str
    score: Score
    change: Comparison
    latency_ms: float
    speedup: Interval
    int8: int
    convolutions: int
    bundle: str
    float_layers: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def kept(self) -> Interval:
        """Points of the metric above FP32; without labels, of the share of pixels (or images) with FP32's class."""
        return self.change.metric or self.change.agreement

    def met(self, tolerance: float) -> bool:
        """Return True if the whole interval lies within the tolerance."""
        return self.kept.low >= -tolerance

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **vars(self),
            "score": self.score.to_json(),
            "change": self.change.to_json(),
            "speedup": self.speedup.to_json(),
            "float_layers": list(self.float_layers),
        }

    @classmethod
    def of_json(cls, found: dict[str, Any]) -> Trial:
        """The trial that `to_json` wrote."""
        change = {name: value and Interval(**value) for name, value in found["change"].items()}
        values = {
            "score": Score(**found["score"]),
            "change": Comparison(**change),
            "speedup": Interval(**found["speedup"]),
            "float_layers": tuple(found["float_layers"]),
        }
        return cls(**{**found, **values})


class Measuring:
    """Measures candidates of one run against the FP32 engine of the first backend."""

    def __init__(self, config: Config, backends: list[Backend]) -> None:
        self.config, self.backends = config, backends
        self.tuning = tuning_of(config)
        require_evidence(self.tuning.groups)

    def fp32(self, backend: Backend) -> Bundle:
        """The FP32 engine; raises `UserError` where it cannot be built."""
        return built(self.config, RunPaths(self.config.run), backend, "fp32")

    @cached_property
    def evaluator(self) -> Evaluator:
        """The evaluator on the tuning split; its reference runs only if a trial is not cached."""
        return self._evaluator(self.tuning)

    def trial(self, candidate: Candidate, backend: Backend) -> Trial:
        """Build and measure the engine of a finished candidate, unless a cached result exists."""
        started, paths = time.monotonic(), candidate.paths
        bundle, fp32 = built(candidate.config, paths, backend, "int8"), self.fp32(backend)
        stored = paths.dir / f"trial-{backend.name}.json"
        stage = Stage(
            name=f"trial {backend.name}",
            outputs=(stored,),
            inputs=(bundle.dir / "manifest.json", fp32.dir / "manifest.json"),
            params={
                "data": section_dict(self.config.data),
                "tuning": self.tuning.dataset.fingerprint(),
                "bench": section_dict(self.config.bench),
                "code": source_hash("qat.evaluation", "qat.ship"),
            },
        )

        def measure() -> None:
            found = self._measured(candidate, backend, bundle, fp32, started)
            write_json(stored, found.to_json())

        ensure_stage(stage, paths.manifest, measure)
        return Trial.of_json(read_json(stored))

    def reference_score(self) -> Score:
        """The score of FP32 on the tuning split."""
        return self.evaluator.score(self.evaluator.fp32)

    def on_val(self, candidate: Candidate, backend: Backend) -> tuple[Score, Score, Comparison]:
        """FP32 and the engine on the validation split, and their difference. Nothing else reads val."""
        dataset = dataset_of(self.config, "val")
        groups = groups_of([sequence_of(name) for name in dataset.names])
        evaluator = self._evaluator(TuningSet(dataset, groups))
        with backend.open(built(candidate.config, candidate.paths, backend, "int8")) as session:
            answers = evaluator.answers(predictor(session))
        return evaluator.score(evaluator.fp32), evaluator.score(answers), evaluator.compare(answers, evaluator.fp32)

    def _evaluator(self, images: TuningSet) -> Evaluator:
        first = self.backends[0]
        with first.open(self.fp32(first)) as session:
            classes, task = self.config.model.num_classes, task_of(self.config)
            return Evaluator(images, predictor(session), self.config.data, classes, task)

    def _measured(self, candidate: Candidate, backend: Backend, bundle: Bundle, fp32: Bundle, started: float) -> Trial:
        image = normalize(self.tuning.dataset[0].image, self.config.data)[np.newaxis]
        bench = self.config.bench
        quick = {"rounds": min(bench.rounds, ROUNDS), "warmup_ms": min(bench.warmup_ms, WARMUP_MS)}
        evaluator = self.evaluator
        with backend.open(bundle) as session, backend.open(fp32) as base:
            answers = evaluator.answers(predictor(session))
            sessions = {"fp32": base, "int8": session}
            feeds = {name: {each.input_names[0]: image} for name, each in sessions.items()}
            samples = time_in_turns(sessions, feeds, bench.model_copy(update=quick))
        convolutions = [layer for layer in backend.layers(bundle) if layer.kind == "Conv"]
        return Trial(
            step=candidate.step,
            title=candidate.title,
            backend=backend.name,
            run=candidate.config.run,
            metric=evaluator.task.metric,
            score=evaluator.score(answers),
            change=evaluator.compare(answers, evaluator.fp32),
            latency_ms=float(np.median(samples["int8"])),
            speedup=paired_ratio(samples["fp32"], samples["int8"]),
            int8=sum(layer.precision == "int8" for layer in convolutions),
            convolutions=len(convolutions),
            bundle=bundle.dir.as_posix(),
            float_layers=candidate.float_layers,
            seconds=time.monotonic() - started,
        )


def built(config: Config, paths: RunPaths, backend: Backend, precision: Precision) -> Bundle:
    """The engine of a run; raises `UserError` where it cannot be built."""
    outcome = ensure_engine(config, paths, backend, precision)
    if outcome.bundle is None:
        raise UserError(f"no {backend.name} {precision} engine of {config.run}", why=outcome.reason)
    return outcome.bundle
