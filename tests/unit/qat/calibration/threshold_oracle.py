"""The costs of calibration ranges, one candidate at a time and as defined: what the fast forms must equal."""

from __future__ import annotations

import torch
from torch import Tensor

from qat.calibration.thresholds import LEVELS


def squared_error(counts: Tensor, end: int) -> float:
    """Summed squared error, in bins, of quantizing bin centres with amax at the end of bin `end - 1`."""
    centres = torch.arange(counts.numel(), dtype=counts.dtype) + 0.5
    step = end / (LEVELS - 1)
    quantized = (centres / step).round().clamp_max(LEVELS - 1) * step
    return float((counts * (centres - quantized) ** 2).sum())


def divergence(counts: Tensor, end: int) -> float:
    """KL divergence of the clipped distribution from its `LEVELS`-level version, without the first bin."""
    reference = counts[1:end].clone()
    sliced = reference.clone()
    reference[-1] += counts[end:].sum()
    group = (torch.arange(sliced.numel()) * LEVELS) // sliced.numel()
    filled = (reference > 0).to(counts.dtype)
    mass = torch.zeros(LEVELS, dtype=counts.dtype).index_add_(0, group, sliced)
    members = torch.zeros(LEVELS, dtype=counts.dtype).index_add_(0, group, filled)
    spread = (mass / members.clamp_min(1))[group] * filled
    if spread.sum() == 0:
        return float("inf")
    p, q = reference / reference.sum(), spread / spread.sum()
    used = p > 0
    return float((p[used] * (p[used] / q[used].clamp_min(1e-12)).log()).sum())
