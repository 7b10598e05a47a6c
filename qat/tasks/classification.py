"""Classification: every image has one class; top-1 and top-5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from core.config import Config
from core.errors import UserError
from qat.data.base import NO_CLASS, LabelledImages, Sample
from qat.data.classified import build_classified, build_classified_tuning
from qat.data.tuning import TuningSet
from qat.tasks.base import Answer, Evidence, Shown, intervals
from qat.tasks.losses import ClassificationLoss, Loss
from qat.tasks.metrics import Score, require_class

TOP = 5


class Classification:
    """Classification: answers are the five likeliest classes, int32 (5,), or all where there are fewer.

    Evidence of an image is its class and two flags: the first answer is right, and one of the five is right.
    """

    metric, answers, per_class = "top-1", "images", "top-1"
    examples_are = "Validation images whose first answer INT8 changes, of"
    shows_all = False
    legend: Mapping[str, tuple[int, int, int]] = {}

    def dataset(self, config: Config, split: Literal["train", "val"]) -> LabelledImages:
        return build_classified(config.data, split, config.model.num_classes)

    def tuning(self, config: Config) -> TuningSet:
        return build_classified_tuning(config.data, config.model.num_classes)

    def loss(self, config: Config) -> Loss:
        return ClassificationLoss(config.model.output)

    def require_logits(self, shape: tuple[int, ...], classes: int) -> None:
        if len(shape) != 2 or shape[1] != classes:
            raise UserError(
                f"the network's output has shape {shape}",
                why=f"classification needs logits (N, {classes})",
                fix="set model.output to the head that has them, model.num_classes, or task: segmentation",
            )

    def labelled(self, sample: Sample) -> bool:
        return int(sample.label) != NO_CLASS

    def answer(self, logits: Tensor, label: NDArray[Any]) -> NDArray[np.integer[Any]]:
        """Classes sorted by score; of equal scores the lower class comes first, as in `argmax`."""
        scores = logits.float().cpu().numpy()
        return np.argsort(-scores, axis=1, kind="stable")[:, :TOP].astype(np.int32)

    def evidence(self, answer: Answer, label: NDArray[Any], classes: int) -> Evidence:
        require_class("label", label.reshape(1).astype(np.int64), classes)
        return np.array([label, answer[0] == label, (answer == label).any()], np.int32)

    def evidence_shape(self, classes: int) -> tuple[int, ...]:
        return (3,)

    def values(self, evidence: Evidence, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        counted = weights * (evidence[:, 0] != NO_CLASS)
        totals = np.maximum(counted.sum(axis=1), 1)
        return {
            self.metric: 100 * (counted @ evidence[:, 1]) / totals,
            "top-5": 100 * (counted @ evidence[:, 2]) / totals,
        }

    def score(self, evidence: Evidence, class_names: tuple[str, ...]) -> Score:
        known = evidence[evidence[:, 0] != NO_CLASS]
        if not len(known):
            raise UserError("there is nothing to score", why=f"none of the {len(evidence)} images has a class")
        images = np.bincount(known[:, 0], minlength=len(class_names))
        right = np.bincount(known[:, 0], known[:, 1], minlength=len(class_names))
        shares = [100 * float(r) / int(n) if n else None for r, n in zip(right, images, strict=True)]
        return Score(intervals(self, evidence), dict(zip(class_names, shares, strict=True)), len(evidence))

    def agreement(self, one: Answer, other: Answer) -> tuple[int, int]:
        return int(one[0] == other[0]), 1

    def shown(self, sample: Sample, fp32: Answer, int8: Answer, dataset: LabelledImages) -> Shown:
        names = dataset.class_names
        truth = names[int(sample.label)] if self.labelled(sample) else "unknown"
        return Shown({"image": sample.image}, f"{truth}: FP32 {names[fp32[0]]}, INT8 {names[int8[0]]}")
