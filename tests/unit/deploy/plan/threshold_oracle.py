"""The costs of calibration ranges by definition, one candidate at a time: the reference for the fast forms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deploy.plan.thresholds import LEVELS


def squared_error(counts: NDArray[np.float64], end: int) -> float:
    """Summed squared error, in bins, of quantizing bin centres with amax at the end of bin `end - 1`."""
    centres = np.arange(counts.size) + 0.5
    step = end / (LEVELS - 1)
    quantized = np.minimum(np.rint(centres / step), LEVELS - 1) * step
    return float((counts * (centres - quantized) ** 2).sum())


def divergence(counts: NDArray[np.float64], end: int) -> float:
    """KL divergence of the clipped distribution from its `LEVELS`-level version, without the first bin."""
    reference = counts[1:end].copy()
    sliced = reference.copy()
    reference[-1] += counts[end:].sum()
    group = (np.arange(sliced.size) * LEVELS) // sliced.size
    filled = (reference > 0).astype(np.float64)
    mass = np.bincount(group, sliced, LEVELS)
    members = np.bincount(group, filled, LEVELS)
    spread = (mass / np.maximum(members, 1))[group] * filled
    if spread.sum() == 0:
        return float("inf")
    p, q = reference / reference.sum(), spread / spread.sum()
    used = p > 0
    return float((p[used] * np.log(p[used] / np.maximum(q[used], 1e-12))).sum())
