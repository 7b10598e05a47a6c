"""Evidence of every image, stored for resampling: its loss, and counts of the suitable metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import UserError
from deploy.checks.iou import mean_iou
from qat.data.base import IGNORE
from qat.models.outputs import upsample
from qat.sensitivity.user.batch import logits_of, map_tensors
from qat.tasks.bootstrap import mean
from qat.tasks.metrics import classes_of, resampled

MetricName = Literal["", "mIoU", "top-1"]


@dataclass(frozen=True)
class Evidence:
    """One image: its loss and, optionally, its counts for the metric (a confusion matrix, or 1 if it is right)."""

    loss: float
    counts: NDArray[np.int32] | None


def metric_of(output: Any, target: Any) -> MetricName:
    """The metric: mIoU where every pixel has a class, top-1 where every image has one, else empty.

    With one logit it is empty, too: only the loss defines the threshold.
    """
    logits = logits_of(output)
    if not isinstance(target, Tensor) or target.is_floating_point() or logits.ndim < 2 or logits.shape[1] == 1:
        return ""
    if logits.ndim == 4 and target.ndim in (3, 4) and target.shape[0] == logits.shape[0]:
        return "mIoU" if target.ndim == 3 or target.shape[1] == 1 else ""
    return "top-1" if logits.ndim == 2 and target.shape[:1] == logits.shape[:1] and target.ndim == 1 else ""


def evidence(
    output: Any, target: Any, criterion: Callable[[Any, Any], Tensor], metric: MetricName | None, images: int
) -> list[Evidence]:
    """Loss and counts of every image of a batch; a batch that is one sample counts as one image.

    Args:
        metric: metric to count; None skips counting, which for small images saves half of the work after the network.

    Raises:
        UserError: the criterion does not return one number, or a label is not below the number of classes.
    """
    found = []
    for index in range(images):
        if images > 1:
            outputs, targets = (map_tensors(both, partial(one_of, index)) for both in (output, target))
        else:
            outputs, targets = output, target
        loss = criterion(outputs, targets)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise UserError("get_criterion()'s loss is not one number", fix="return a scalar tensor")
        counts = None if metric is None else _counts(logits_of(outputs), targets, metric)
        found.append(Evidence(float(loss), counts))
    return found


def one_of(index: int, value: Tensor) -> Tensor:
    """Image `index` of a batch, as a batch of one."""
    return value[index : index + 1]


def counts_of(found: Sequence[Evidence]) -> NDArray[np.int32]:
    """Counts of all images, (images, …); every item must have counts."""
    return np.stack([item.counts for item in found if item.counts is not None])


def losses_of(found: Sequence[Evidence]) -> NDArray[np.float64]:
    """Losses of all images, (images,)."""
    return np.array([item.loss for item in found])


def mean_loss(found: Sequence[Evidence]) -> float:
    """Mean over the images that have a loss."""
    return float(mean(losses_of(found), np.ones((1, len(found))))[0])


def metric_value(metric: str, counts: NDArray[np.integer[Any]], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The metric in percent for each row of `weights` (k, images); `counts` is (images, …)."""
    if metric == "top-1":
        return 100 * mean(counts[:, 0].astype(np.float64), weights)
    return 100 * mean_iou(resampled(counts, weights))


def _counts(logits: Tensor, target: Any, metric: MetricName) -> NDArray[np.int32]:
    if metric == "top-1":
        return (logits.argmax(1) == target).int().cpu().numpy()
    if metric == "":
        return np.zeros(1, np.int32)
    labels = target[:, 0] if target.ndim == 4 else target
    classes = logits.shape[1]
    predicted = classes_of(upsample(logits, labels))
    valid = (labels != IGNORE) & (labels >= 0)
    if int((labels * valid).max()) >= classes:
        raise UserError(f"a label is not below {classes}, the number of classes", fix=f"{IGNORE} means ignored")
    pairs = torch.where(valid, labels.long() * classes + predicted, classes**2)  # ignored pixels have a separate bin
    counts = torch.bincount(pairs.flatten(), minlength=classes**2 + 1)[:-1]
    return counts.reshape(classes, classes).int().cpu().numpy()
