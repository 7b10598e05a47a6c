"""Segmentation: every pixel has a class; mIoU from one confusion matrix over all pixels of the data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.config import Config
from core.errors import UserError
from deploy.checks.iou import mean_iou
from qat.data import TuningSet, build_dataset, build_tuning
from qat.data.base import IGNORE, LabelledImages, Sample
from qat.models.outputs import upsample
from qat.tasks.base import Answer, Evidence, Shown, intervals
from qat.tasks.losses import Loss, SegmentationLoss
from qat.tasks.masks import LEGEND, colorize, difference
from qat.tasks.metrics import Score, class_ious, classes_of, confusion, pixel_accuracy, resampled


class Segmentation:
    """Segmentation: answers are label maps, uint8 (H, W); evidence is confusion matrices."""

    metric, answers, per_class = "mIoU", "pixels", "IoU"
    examples_are = "Validation images at even distances, segmented by"
    shows_all = True
    legend: Mapping[str, tuple[int, int, int]] = LEGEND

    def dataset(self, config: Config, split: Literal["train", "val"]) -> LabelledImages:
        return build_dataset(config.data, split, seed=config.seed)

    def tuning(self, config: Config) -> TuningSet:
        return build_tuning(config.data, seed=config.seed)

    def loss(self, config: Config) -> Loss:
        return SegmentationLoss(config.train, config.model.output)

    def require_logits(self, shape: tuple[int, ...], classes: int) -> None:
        if len(shape) != 4 or shape[1] != classes:
            raise UserError(
                f"the network's output has shape {shape}",
                why=f"segmentation needs logits (N, {classes}, height, width)",
                fix="set model.output to the head that has them, model.num_classes, or task: classification",
            )

    def labelled(self, sample: Sample) -> bool:
        return bool(np.any(sample.label != IGNORE))

    def answer(self, logits: Tensor, label: NDArray[Any]) -> NDArray[np.integer[Any]]:
        """Logits are upsampled to the size of the label: bilinear, corners aligned, as PIDNet's authors evaluate."""
        classes: NDArray[np.uint8] = classes_of(upsample(logits, label)).to(torch.uint8).cpu().numpy()
        return classes

    def evidence(self, answer: Answer, label: NDArray[Any], classes: int) -> Evidence:
        return confusion(answer, label, classes)

    def evidence_shape(self, classes: int) -> tuple[int, ...]:
        return classes, classes

    def values(self, evidence: Evidence, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        totals = resampled(evidence, weights)
        return {self.metric: 100 * mean_iou(totals), "pixel accuracy": 100 * pixel_accuracy(totals)}

    def score(self, evidence: Evidence, class_names: tuple[str, ...]) -> Score:
        if not evidence.any():
            raise UserError(
                "there is nothing to score",
                why=f"none of the {len(evidence)} images has a labelled pixel",
                fix=f"check the label maps: {IGNORE} means ignored",
            )
        ious = class_ious(evidence.sum(axis=0, dtype=np.int64))
        return Score(intervals(self, evidence), dict(zip(class_names, ious, strict=True)), len(evidence))

    def agreement(self, one: Answer, other: Answer) -> tuple[int, int]:
        return int(np.count_nonzero(one == other)), one.size

    def shown(self, sample: Sample, fp32: Answer, int8: Answer, dataset: LabelledImages) -> Shown:
        pictures = {
            "image": sample.image,
            "ground truth": colorize(sample.label, dataset.colors),
            "FP32": colorize(fp32, dataset.colors),
            "INT8": colorize(int8, dataset.colors),
            "difference": difference(sample.image, sample.label, fp32, int8),
        }
        return Shown(pictures, f"{100 * float(np.mean(fp32 == int8)):.2f} % of pixels equal")
