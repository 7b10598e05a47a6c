"""Mean IoU of confusion matrices; all other code calls this module."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def mean_iou(totals: NDArray[np.floating[Any] | np.integer[Any]]) -> NDArray[np.float64]:
    """Mean IoU, 0 to 1, of confusion matrices (k, classes, classes) over the classes that occur in the labels.

    A matrix counts pixels by (labelled class, predicted class). One without labels gives 0.
    """
    correct = np.diagonal(totals, axis1=1, axis2=2)
    labelled, predicted = totals.sum(axis=2), totals.sum(axis=1)
    union = np.maximum(labelled + predicted - correct, 1)
    present = labelled > 0
    found: NDArray[np.float64] = np.where(present, correct / union, 0).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    return found
