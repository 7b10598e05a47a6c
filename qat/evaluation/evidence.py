"""The evaluator of every choice: answers of networks on the tuning images, and comparisons of two networks.

A comparison gives differences with intervals over groups of images: of the metric where there are labels, and always of
the closeness to FP32 (KL divergence per pixel, share of pixels with FP32's class).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.config import DataConfig
from core.interval import Interval
from deploy.targets.base import Session
from qat.data import TuningSet
from qat.evaluation.evaluate import Every, Predictor, outputs
from qat.processes.distributed import gathered, rank, world_size
from qat.tasks.base import Evidence, Task
from qat.tasks.bootstrap import interval as bootstrap
from qat.tasks.bootstrap import mean
from qat.tasks.metrics import divergence

LEAST_GROUPS = 4  # least number of tuning images for a meaningful interval

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """Answers of one network to each image, compared with FP32.

    Attributes:
        evidence: (images, ...), of the task; zero for images without labels.
        divergence: (images,) KL divergence from FP32 per pixel of the logits, nats.
        agreement: (images,) share of pixels (or images) with FP32's class, percent.
    """

    evidence: Evidence
    divergence: Values
    agreement: Values


@dataclass(frozen=True)
class Score:
    """One network on all tuning images: `metric` in percent, None without labels; fidelity as in `Answers`."""

    metric: float | None
    divergence: float
    agreement: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """One network minus another on the same images.

    Attributes:
        metric: points; None without labels.
        divergence: nats per pixel; below zero is closer to FP32.
        agreement: percent of pixels; above zero is closer to FP32.
    """

    metric: Interval | None
    divergence: Interval
    agreement: Interval

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class Evaluator:
    """Evaluates networks and engines on the tuning images, and compares them.

    Attributes:
        labelled: the images have labels, so a metric exists.
        fp32: answers of the reference itself.
    """

    def __init__(self, tuning: TuningSet, reference: Predictor, data: DataConfig, num_classes: int, task: Task) -> None:
        """
        Args:
            tuning: not empty.
            reference: the FP32 network; it is run once and its logits are kept.
        """
        self._tuning, self._data, self._classes, self.task = tuning, data, num_classes, task
        self._mine = Every(tuning.dataset, rank(), world_size())
        self._logits = [logits.float().clone() for _, logits in outputs(reference, self._mine, data)]
        self.fp32 = self._answers(iter(self._logits))
        self.labelled = any(task.labelled(tuning.dataset[index]) for index in range(len(tuning)))

    @property
    def groups(self) -> int:
        """The number of groups in which images are resampled."""
        return len(set(self._tuning.groups))

    def answers(self, network: Predictor) -> Answers:
        """Run `network` on every tuning image; several processes share the images and all get all answers."""
        return self._answers(logits.float() for _, logits in outputs(network, self._mine, self._data))

    def score(self, answers: Answers) -> Score:
        """The score over all images."""
        ones = np.ones((1, len(self._tuning)))
        metric = float(self.task.values(answers.evidence, ones)[self.task.metric][0]) if self.labelled else None
        return Score(metric, float(answers.divergence.mean()), float(answers.agreement.mean()))

    def compare(self, new: Answers, old: Answers, looks: int = 1) -> Comparison:
        """The difference of `new` from `old`.

        Args:
            looks: number of networks of which `new` is the best; the intervals are widened for it.
        """

        def metric(weights: Values) -> Values:
            ours, theirs = (self.task.values(each.evidence, weights)[self.task.metric] for each in (new, old))
            return ours - theirs

        def of(name: str) -> Callable[[Values], Values]:
            return lambda weights: mean(getattr(new, name) - getattr(old, name), weights)

        def interval(statistic: Callable[[Values], Values]) -> Interval:
            return bootstrap(statistic, len(self._tuning), 0, self._tuning.groups, looks)

        return Comparison(
            interval(metric) if self.labelled else None, interval(of("divergence")), interval(of("agreement"))
        )

    def _answers(self, logits: Any) -> Answers:
        total = len(self._tuning)
        evidence = np.zeros((total, *self.task.evidence_shape(self._classes)), np.int32)
        fidelity = np.zeros((2, total))
        for index, (position, found) in enumerate(zip(self._mine.indices, logits, strict=True)):
            sample, reference = self._mine[index], self._logits[index].to(found.device)
            answer, expected = (self.task.answer(each, sample.label[np.newaxis])[0] for each in (found, reference))
            evidence[position] = self.task.evidence(answer, sample.label, self._classes)
            diverged, places = divergence(reference, found)
            equal, parts = self.task.agreement(answer, expected)
            fidelity[:, position] = max(diverged / places, 0.0), 100 * equal / parts
        everyone = [sum(gathered(values)) for values in (evidence, fidelity)]
        return Answers(everyone[0], everyone[1][0], everyone[1][1])


def predictor(session: Session) -> Callable[[Tensor], Tensor]:
    """An engine as a function of one image, (1, 3, H, W), to logits."""

    def run(images: Tensor) -> Tensor:
        found = session.run({session.input_names[0]: images.numpy()})
        return torch.from_numpy(found[session.output_names[0]])

    return run
