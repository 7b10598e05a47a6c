"""The steps of the climb, cheap steps first. A new step is one function and one line in `LADDER`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from core.config import ActivationCalibrator, Config
from deploy.targets.base import Backend
from qat.sensitivity.decide.search import layers_of
from qat.ship.candidate import Candidate, Ptq, corrected, trained, with_float
from qat.ship.float_groups import cheapest_first, subject_of
from qat.ship.trial import Measuring, Trial

CALIBRATORS: tuple[ActivationCalibrator, ...] = ("mse", "entropy", "percentile", "moving_average", "max")
FLOAT_GROUPS = (1, 2, 4, 8)  # that stay in float, in turn


@dataclass
class Climb:
    """The shared state of the steps: the run, the trials, and their candidates."""

    config: Config
    measuring: Measuring
    trials: list[tuple[Candidate, Trial]] = field(default_factory=list)
    ptq: Ptq = field(init=False)

    def __post_init__(self) -> None:
        self.ptq = Ptq(self.config)

    def best(self, step: str, backend: Backend) -> Candidate | None:
        """The candidate of a step whose engine of this backend came closest to FP32; None where the step has none."""
        own = [pair for pair in self.trials if pair[0].step == step and pair[1].backend == backend.name]
        return max(own, key=lambda pair: pair[1].kept.low)[0] if own else None


Step = Callable[[Climb, Backend], Iterator[Candidate]]


def by_calibrator(climb: Climb, _backend: Backend) -> Iterator[Candidate]:
    """PTQ by the configured calibrator, then by all other calibrators."""
    for method in dict.fromkeys((climb.config.qat.calibration.method, *CALIBRATORS)):
        yield climb.ptq.candidate(method)


def float_groups(of: str, climb: Climb, backend: Backend) -> Iterator[Candidate]:
    """The closest candidate of a step, with more and more groups in float."""
    source = climb.best(of, backend)
    if source is None:
        return
    subject = lru_cache(maxsize=1)(partial(subject_of, source, climb.config))
    order = cheapest_first(source, subject, climb.measuring, backend)
    for count in dict.fromkeys(min(count, len(order)) for count in FLOAT_GROUPS):
        names = [group.name for group in order[:count]]
        if names:
            yield with_float(source, names, layers_of(order, names), subject)


def bias_corrected(climb: Climb, backend: Backend) -> Iterator[Candidate]:
    """The closest PTQ candidate, with each layer's bias corrected by its mean error."""
    source = climb.best("PTQ", backend)
    if source is not None:
        yield corrected(source)


def training(climb: Climb, backend: Backend) -> Iterator[Candidate]:
    """QAT from the closest PTQ candidate: by distillation alone, then with labels if available."""
    source = climb.best("PTQ", backend)
    calibration = (source.config if source else climb.config).qat.calibration
    distill = climb.config.qat.distill
    recipes: dict[str, dict[str, Any]] = {
        "distillation": {"labels": False, "weight": distill.weight or 1.0},
        "labels": {"labels": True},
    }
    for name, changes in recipes.items():
        if name == "distillation" or climb.config.data.train_masks:
            qat = {"calibration": calibration, "distill": distill.model_copy(update=changes)}
            yield trained(climb.config, f"qat-{name}-{calibration.method}", f"QAT, {name}", qat)


LADDER: tuple[tuple[str, Step], ...] = (
    ("PTQ by calibrator", by_calibrator),
    ("PTQ with bias correction", bias_corrected),
    ("PTQ with float groups", partial(float_groups, "PTQ")),
    ("QAT", training),
    ("QAT with float groups", partial(float_groups, "QAT")),
)
