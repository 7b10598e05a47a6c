"""All engines in one interleaved run: time, speed against FP32, closeness to FP32, and how much of them is INT8."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from core.config import BenchConfig
from core.console import say
from core.errors import one_line
from core.interval import Interval
from deploy.apps.quantize.choose import outputs_of
from deploy.apps.quantize.labels import Labels
from deploy.apps.quantize.pictures import Pictures
from deploy.bundle.pixels import Feeder
from deploy.checks.fidelity import Fidelity, Tensors, fidelity, lost_points
from deploy.pipeline import BuildOutcome
from deploy.targets import get_backend, title_of
from deploy.targets.base import Session
from deploy.targets.onnxruntime.engine import ONNXRuntimeSession, open_session
from deploy.tuning.timing import paired_ratio, time_in_turns


@dataclass(frozen=True)
class Row:
    """One engine.

    Attributes:
        status: "ok"; "simulated": built, but only its graph could be run here, by ONNX Runtime; "failed" or
            "unavailable" with a reason.
        ms: median time of one inference.
        speedup: times faster than FP32 of the same backend.
        score: of the labels' metric, percent.
        int8_convolutions, convolutions: counted in the built engine.
    """

    engine: str
    backend: str
    precision: str
    status: str
    reason: str = ""
    folder: str = ""
    size_bytes: int | None = None
    ms: float | None = None
    speedup: Interval | None = None
    fidelity: tuple[Fidelity, ...] = ()
    score: float | None = None
    int8_convolutions: int | None = None
    convolutions: int | None = None

    def to_json(self) -> dict[str, Any]:
        """For the result file."""
        return asdict(self)

    @property
    def lost_points(self) -> float | None:
        """Points of agreement with FP32 lost by the output that lost most; None where nothing is decided."""
        return lost_points(self.fidelity)


@dataclass(frozen=True)
class Exam:
    """The pictures to compare on, what FP32 makes of them, and their labels if there are any.

    Attributes:
        size: height and width of the network's input.
    """

    pictures: Pictures
    references: Sequence[Tensors]
    size: tuple[int, int]
    labels: Labels | None = None


@dataclass(frozen=True)
class Candidate:
    """An engine to compare, and what tables call it."""

    name: str
    outcome: BuildOutcome

    @classmethod
    def of(cls, outcome: BuildOutcome) -> Candidate:
        """Named after its backend and precision."""
        return cls(f"{title_of(outcome.backend)} {outcome.precision}", outcome)


def compare(candidates: Sequence[Candidate], exam: Exam, bench: BenchConfig) -> list[Row]:
    """One row a candidate, in their order; an engine that cannot be opened is a row with its reason."""
    with ExitStack() as stack:
        opened = [_open(stack, candidate) for candidate in candidates]
        sessions = {row.engine: session for row, session in opened if session is not None and row.status == "ok"}
        image = exam.pictures[0]
        feeds = {name: {session.input_names[0]: image} for name, session in sessions.items()}
        samples = time_in_turns(sessions, feeds, bench) if sessions else {}
        rows = []
        for row, session in opened:
            if session is None:
                rows.append(row)
                continue
            row = _scored(row, session, exam)
            own, fp32 = samples.get(row.engine), samples.get(f"{title_of(row.backend)} fp32")
            if own is not None:
                ratio = paired_ratio(fp32, own) if fp32 is not None else None
                row = replace(row, ms=float(np.median(own)), speedup=ratio)
            rows.append(row)
    return rows


def _open(stack: ExitStack, candidate: Candidate) -> tuple[Row, Session | None]:
    """The row so far, and the session of its engine, or of its graph where the engine cannot run here."""
    name, outcome = candidate.name, candidate.outcome
    row = Row(name, outcome.backend, outcome.precision, outcome.status, " ".join(outcome.reason.split()))
    backend, bundle = get_backend(outcome.backend), outcome.bundle
    if bundle is None or outcome.source is None:
        return row, None
    row = replace(row, folder=str(bundle.dir), size_bytes=bundle.size_bytes)
    try:
        convolutions = [layer for layer in backend.layers(bundle) if layer.kind == "Conv"]
        in_int8 = sum(layer.precision == "int8" for layer in convolutions)
        row = replace(row, convolutions=len(convolutions), int8_convolutions=in_int8)
        blocked = backend.runnable(outcome.precision)
        if blocked is None:
            return row, stack.enter_context(backend.open(bundle))
        row = replace(row, status="simulated", reason=str(blocked))
        simulated = open_session(outcome.source, bundle.manifest["options"]["threads"])
        return row, ONNXRuntimeSession(simulated, Feeder(bundle.manifest))
    except Exception as error:  # vendor runtimes raise what they like; one broken engine must not hide the others
        say(f"{name} failed: {one_line(error)}")
        return replace(row, status="failed", reason=one_line(error)), None


def _scored(row: Row, session: Session, exam: Exam) -> Row:
    try:
        outputs = list(outputs_of(session, exam.pictures))
    except Exception as error:  # as above
        say(f"{row.engine} failed: {one_line(error)}")
        return replace(row, status="failed", reason=one_line(error))
    found = tuple(fidelity(exam.references, outputs))
    score = exam.labels.score(exam.pictures.names, outputs, exam.size) if exam.labels else None
    return replace(row, fidelity=found, score=score)
