"""The interface of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from core.config import Config
from core.interval import Interval
from qat.data.base import LabelledImages, Sample
from qat.data.tuning import TuningSet
from qat.tasks.bootstrap import interval
from qat.tasks.losses import Loss
from qat.tasks.metrics import Score

Answer = NDArray[np.integer[Any]]  # the network's answer to one image
Evidence = NDArray[np.int32]  # counts of one image; their sums give the metric of any set of images
Picture = NDArray[np.uint8]  # RGB (H, W, 3)


@dataclass(frozen=True)
class Shown:
    """One image of the report: pictures by title, and words below the last of them."""

    pictures: Mapping[str, Picture]
    caption: str


class Task(Protocol):
    """All code that depends on the task; other code does not check which task it is."""

    metric: str  # name of the metric, such as "mIoU"
    answers: str  # unit of agreement, such as "pixels"
    per_class: str  # the metric of one class, such as "IoU"
    examples_are: str  # description of the report's images
    shows_all: bool  # changed or not
    legend: Mapping[str, tuple[int, int, int]]  # meaning of colours in these pictures, RGB

    def dataset(self, config: Config, split: Literal["train", "val"]) -> LabelledImages:
        """The images of a split, with labels."""

    def tuning(self, config: Config) -> TuningSet:
        """The images that choices are evaluated on, with labels if available."""

    def loss(self, config: Config) -> Loss:
        """The loss of training, for networks without their own loss."""

    def require_logits(self, shape: tuple[int, ...], classes: int) -> None:
        """Raise `UserError` unless an output of this shape is logits of this task."""

    def labelled(self, sample: Sample) -> bool:
        """Return True if some part of the image has a class."""

    def answer(self, logits: Tensor, label: NDArray[Any]) -> NDArray[np.integer[Any]]:
        """Answers (N, ...) from logits (N, classes, ...); only the shape of `label` matters."""

    def evidence(self, answer: Answer, label: NDArray[Any], classes: int) -> Evidence:
        """Counts of one image, in the shape `evidence_shape`."""

    def evidence_shape(self, classes: int) -> tuple[int, ...]:
        """Shape of the evidence of one image."""

    def values(self, evidence: Evidence, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Percent by name for each row of `weights` (k, images), the metric first; `evidence` is (images, ...)."""

    def score(self, evidence: Evidence, class_names: tuple[str, ...]) -> Score:
        """All values with their intervals; raises `UserError` when no image has labels."""

    def agreement(self, one: Answer, other: Answer) -> tuple[int, int]:
        """The number of equal parts of two answers to one image, and the number of all parts."""

    def shown(self, sample: Sample, fp32: Answer, int8: Answer, dataset: LabelledImages) -> Shown:
        """The image in the report."""


def intervals(task: Task, evidence: Evidence) -> dict[str, Interval]:
    """Every value of `Task.values` with its interval over images."""

    def value(name: str, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return task.values(evidence, weights)[name]

    names = task.values(evidence, np.ones((1, len(evidence))))
    return {name: interval(partial(value, name), len(evidence), seed=0) for name in names}


def change(task: Task, ours: Evidence, theirs: Evidence, groups: Sequence[int] | None = None) -> Interval:
    """The task's metric of `ours` minus that of `theirs`, in points; both are resampled together (see `interval`)."""

    def difference(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return task.values(ours, weights)[task.metric] - task.values(theirs, weights)[task.metric]

    return interval(difference, len(ours), 0, groups)
