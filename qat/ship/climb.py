"""Climb the ladder until an engine keeps the accuracy, verify it on val, and write down everything that was tried."""

from __future__ import annotations

import time
from dataclasses import dataclass

from core.config import Config
from core.console import duration, say
from core.course import current
from core.errors import UnsupportedEnvironment, UserError, one_line
from core.files.paths import RunPaths
from deploy.bundle.meaning import write_classes
from deploy.hardware.machine import require_threads
from deploy.targets import get_backend, title_of
from deploy.targets.base import Backend
from qat.evaluation.evidence import Comparison, Score
from qat.pipeline import run as pipeline
from qat.ship.candidate import Candidate
from qat.ship.ladder import LADDER, Climb
from qat.ship.trial import Measuring, Trial
from qat.tasks import dataset_of
from qat.tasks.check import require_classes

VERIFY = "verify on val"
STAGES = (*pipeline.FP32_STAGES, *(name for name, _ in LADDER), VERIFY)


@dataclass(frozen=True)
class Refused:
    """A candidate that could not be made or measured, and why."""

    title: str
    backend: str
    why: str


@dataclass(frozen=True)
class Shipped:
    """The outcome of a climb.

    Attributes:
        winner: the first engine within the tolerance, or the fastest where several backends have one at once.
        val: FP32, the winner, and the difference on the validation split.
        trials: all engines in the order in which they were tried.
        seconds: of this climb; results kept by earlier ones cost nothing.
        stopped: why the climb ended early, or "".
    """

    tolerance: float
    winner: Trial | None
    val: tuple[Score, Score, Comparison] | None
    trials: tuple[Trial, ...]
    refused: tuple[Refused, ...]
    fp32: Score
    images: int
    groups: int
    seconds: float
    stopped: str = ""

    @property
    def nearest(self) -> Trial | None:
        """The engine that comes closest to the tolerance."""
        return max(self.trials, key=lambda trial: trial.kept.low, default=None)

    @property
    def runners_up(self) -> tuple[Trial, ...]:
        """The next two: those within the tolerance by speed, then the others by how close they come."""
        others = [trial for trial in self.trials if trial != self.winner]
        order = sorted(
            others,
            key=lambda trial: (
                not trial.met(self.tolerance),
                trial.latency_ms if trial.met(self.tolerance) else -trial.kept.low,
            ),
        )
        return tuple(order[:2])

    def on_front(self, trial: Trial) -> bool:
        """No other engine is both as fast and as accurate."""
        mine = trial.latency_ms, -trial.kept.value
        theirs = [(other.latency_ms, -other.kept.value) for other in self.trials]
        return not any(each != mine and each[0] <= mine[0] and each[1] <= mine[1] for each in theirs)


def ship(config: Config, tolerance: float, budget_s: float | None = None) -> Shipped:
    """Find the first engine whose metric on the tuning split is within `tolerance` points of FP32, as an interval.

    All backends that run here climb together, a candidate each at a time; where some meet it, the fastest ships.
    Everything is kept in runs of its own (`runs/<run>-ship-…`), so that a killed climb continues where it stopped.

    Args:
        budget_s: no further candidate is begun after so many seconds; None for no limit.

    Raises:
        UserError: the tuning split is too small to choose by.
        UnsupportedEnvironment: no backend of `deploy.backends` can build and run INT8 here.
    """
    started = time.monotonic()
    require_threads(config.bench.threads, "bench.threads", "set it to the CPUs that the engine may use")
    backends = _usable(config)
    pipeline.ensure_fp32(config)
    dataset = dataset_of(config, "val")
    require_classes(dataset, config.model.num_classes)
    write_classes(RunPaths(config.run).classes, dataset.class_names, dataset.colors)
    climb = Climb(config, Measuring(config, backends))
    refused: list[Refused] = []
    met: list[tuple[Candidate, Trial]] = []
    stopped = ""
    for name, step in LADDER:
        current().starts(name)
        ways = {backend.name: step(climb, backend) for backend in backends}
        while ways and not met and not stopped:  # one candidate for each backend, then look
            for backend in [backend for backend in backends if backend.name in ways]:
                candidate = next(ways[backend.name], None)
                if candidate is None:
                    del ways[backend.name]
                    continue
                if budget_s is not None and time.monotonic() - started > budget_s:
                    stopped = f"the budget of {duration(budget_s)} was spent before {candidate.title}"
                    break
                found = _tried(climb, candidate, backend, refused)
                if found is not None and found.met(tolerance):
                    met.append((candidate, found))
        if met or stopped:
            break
    best = min(met, key=lambda pair: pair[1].latency_ms, default=None)
    val = None
    if best is not None:
        current().starts(VERIFY)
        val = climb.measuring.on_val(best[0], get_backend(best[1].backend))
    measuring = climb.measuring
    return Shipped(
        tolerance,
        best[1] if best else None,
        val,
        tuple(trial for _, trial in climb.trials),
        tuple(refused),
        measuring.reference_score(),
        len(measuring.tuning),
        len(set(measuring.tuning.groups)),
        time.monotonic() - started,
        stopped,
    )


def _tried(climb: Climb, candidate: Candidate, backend: Backend, refused: list[Refused]) -> Trial | None:
    """The measured engine of a candidate; None where there is none, which `refused` then explains."""
    say(f"ship: {candidate.title} on {title_of(backend.name)}")
    try:
        candidate.make()
        found = climb.measuring.trial(candidate, backend)
    except (UserError, RuntimeError) as error:  # a candidate that cannot be made or built: the others go on
        say(f"ship: {candidate.title}: {one_line(error)}")
        refused.append(Refused(candidate.title, backend.name, one_line(error)))
        return None
    climb.trials.append((candidate, found))
    say(f"ship: {candidate.title}: {found.kept.text('{:+.2f}'.format)} points, {found.latency_ms:.2f} ms")
    return found


def _usable(config: Config) -> list[Backend]:
    backends, reasons = [], []
    for name in config.deploy.backends:
        backend = get_backend(name)
        missing = backend.available("int8") or backend.runnable("int8")
        if missing is None:
            backends.append(backend)
        else:
            reasons.append(f"{title_of(name)}: {missing.why}")
            say(f"ship: {title_of(name)} is left out: {missing.why}")
    if not backends:
        raise UnsupportedEnvironment("no engine can be built and run here", why="; ".join(reasons))
    return backends
