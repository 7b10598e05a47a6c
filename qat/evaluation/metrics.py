"""mIoU of a data set, from one confusion matrix over all its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from core.errors import UserError
from qat.data.base import IGNORE


def classes_of(logits: Tensor) -> Tensor:
    """The class with the largest logit: (N, C, H, W) to int64 (N, H, W); the first of equal ones."""
    return logits.max(dim=1).indices  # argmax over a strided dimension is several times slower on CPUs


@dataclass(frozen=True)
class SegmentationScore:
    """How well a network segments a data set.

    Attributes:
        miou: mean IoU over the classes that occur in the labels, percent.
        per_class: IoU by class name, percent; None for a class that no label shows.
        pixel_accuracy: correct share of the labelled pixels, percent.
        images: images scored.
    """

    miou: float
    per_class: dict[str, float | None]
    pixel_accuracy: float
    images: int

    def to_json(self) -> dict[str, Any]:
        """The score as JSON values."""
        return asdict(self)


class ConfusionMatrix:
    """Counts of (labelled class, predicted class) over any number of images.

    A class is absent when no pixel is labelled with it. It is left out of the mean even if it was predicted somewhere
    (those pixels already count against the class they belong to), so that two networks scored on the same images are
    averaged over the same classes.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.counts = np.zeros((num_classes, num_classes), np.int64)
        self.images = 0

    def update(self, pred: NDArray[np.uint8], label: NDArray[np.uint8]) -> None:
        """Count one image.

        Args:
            pred: uint8 (H, W), predicted class.
            label: uint8 (H, W), class or 255 for pixels that do not count.

        Raises:
            UserError: a class index that is not below `num_classes`.
            ValueError: the shapes differ.
        """
        if pred.shape != label.shape:
            raise ValueError(f"prediction {pred.shape} and label {label.shape} differ in shape")
        valid = label != IGNORE
        labelled, predicted = label[valid].astype(np.int64), pred[valid].astype(np.int64)
        self._check_range("label", labelled)
        self._check_range("prediction", predicted)
        pairs = np.bincount(labelled * self.num_classes + predicted, minlength=self.num_classes**2)
        self.counts += pairs.reshape(self.num_classes, self.num_classes)
        self.images += 1

    def merge(self, other: ConfusionMatrix) -> None:
        """Add the counts of a matrix over other images, of as many classes."""
        if other.num_classes != self.num_classes:
            raise ValueError(f"cannot merge matrices of {self.num_classes} and {other.num_classes} classes")
        self.counts += other.counts
        self.images += other.images

    def score(self, class_names: Sequence[str]) -> SegmentationScore:
        """IoU of each class, their mean and the pixel accuracy.

        Raises:
            UserError: no pixel was labelled.
        """
        labelled, predicted, correct = self.counts.sum(axis=1), self.counts.sum(axis=0), self.counts.diagonal()
        if not labelled.any():
            raise UserError(
                "there is nothing to score",
                why=f"none of the {self.images} images has a labelled pixel",
                fix=f"check the label maps: {IGNORE} means ignored",
            )
        union = labelled + predicted - correct
        ious = [100 * float(c) / float(u) if n else None for c, u, n in zip(correct, union, labelled, strict=True)]
        return SegmentationScore(
            miou=float(np.mean([iou for iou in ious if iou is not None])),
            per_class=dict(zip(class_names, ious, strict=True)),
            pixel_accuracy=100 * float(correct.sum() / labelled.sum()),
            images=self.images,
        )

    def _check_range(self, what: str, values: NDArray[np.int64]) -> None:
        if values.size and values.max() >= self.num_classes:
            raise UserError(
                f"{what} has class {values.max()}, but there are {self.num_classes} classes",
                why=f"class indices run from 0 to {self.num_classes - 1}; in labels {IGNORE} means ignored",
                fix="set model.num_classes, or map the labels",
            )
