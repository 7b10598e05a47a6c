"""Scores, and mIoU from one confusion matrix over all pixels of a data set."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import UserError
from core.interval import Interval
from qat.data.base import IGNORE


def classes_of(logits: Tensor) -> Tensor:
    """The class with the largest logit: (N, C, H, W) to int64 (N, H, W); the first of equal ones."""
    return logits.max(dim=1).indices  # argmax over a strided dimension is several times slower on CPUs


def divergence(reference: Tensor, output: Tensor) -> tuple[float, float]:
    """KL divergence of the softmax over dimension 1 from the reference's: its sum in nats, and the number of positions.

    A single channel counts as the logit of two complementary classes.
    """
    log_a, log_b = _log_softmax(reference.double()), _log_softmax(output.double())
    positions = reference.numel() / (reference.shape[1] if reference.ndim > 1 else 1)
    return float((log_a.exp() * (log_a - log_b)).sum()), positions


def _log_softmax(values: Tensor) -> Tensor:
    channels = values if values.ndim > 1 else values[:, None]
    if channels.shape[1] == 1:
        channels = torch.cat([channels, torch.zeros_like(channels)], 1)
    return torch.log_softmax(channels, 1)


@dataclass(frozen=True)
class Score:
    """The score of a network on labelled images.

    Attributes:
        values: percent by name, with their 95 % intervals over images; the task's metric comes first.
        per_class: the metric by class name, percent; None for a class that no label shows.
        images: images scored.
    """

    values: dict[str, Interval]
    per_class: dict[str, float | None]
    images: int

    @property
    def metric(self) -> str:
        """Name of the task's metric."""
        return next(iter(self.values))

    @property
    def value(self) -> float:
        """The task's metric, percent."""
        return self.values[self.metric].value

    def to_json(self) -> dict[str, Any]:
        """The score as JSON values, with `metric` and `value`."""
        return {"metric": self.metric, "value": self.value, **asdict(self)}


def pixel_accuracy(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correct share of the labelled pixels, 0 to 1, of confusion matrices (k, classes, classes)."""
    correct = np.diagonal(totals, axis1=1, axis2=2).sum(axis=1)
    return correct / np.maximum(totals.sum(axis=(1, 2)), 1)


def resampled(counts: NDArray[np.integer[Any]], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of `counts` (images, ...) with the weights of each row of `weights` (k, images): (k, ...)."""
    return (weights @ counts.reshape(len(counts), -1)).reshape(len(weights), *counts.shape[1:])


def confusion(pred: NDArray[np.integer[Any]], label: NDArray[np.integer[Any]], classes: int) -> NDArray[np.int32]:
    """Pixels of one image by (labelled class, predicted class): int32 (classes, classes).

    Args:
        pred: (H, W), predicted class.
        label: (H, W), class or 255 for pixels that do not count.

    Raises:
        UserError: a class index that is not below `classes`.
        ValueError: the shapes differ.
    """
    if pred.shape != label.shape:
        raise ValueError(f"prediction {pred.shape} and label {label.shape} differ in shape")
    valid = label != IGNORE
    labelled, predicted = label[valid].astype(np.int64), pred[valid].astype(np.int64)
    require_class("label", labelled, classes)
    require_class("prediction", predicted, classes)
    pairs = np.bincount(labelled * classes + predicted, minlength=classes**2)
    return pairs.reshape(classes, classes).astype(np.int32)


def class_ious(counts: NDArray[np.integer[Any]]) -> list[float | None]:
    """IoU of each class, percent, of one confusion matrix.

    None for a class without labelled pixels, even if it was predicted somewhere: those pixels already count against
    their own class. Two networks scored on the same images are thus averaged over the same classes.
    """
    labelled, predicted, correct = counts.sum(axis=1), counts.sum(axis=0), counts.diagonal()
    union = labelled + predicted - correct
    return [100 * float(c) / float(u) if n else None for c, u, n in zip(correct, union, labelled, strict=True)]


def require_class(what: str, values: NDArray[np.int64], classes: int) -> None:
    """Raise `UserError` for a class index that is not below `classes`."""
    if values.size and values.max() >= classes:
        raise UserError(
            f"{what} has class {values.max()}, but there are {classes} classes",
            why=f"class indices run from 0 to {classes - 1}",
            fix="set model.num_classes, or map the labels",
        )
