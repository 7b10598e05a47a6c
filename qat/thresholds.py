"""From a histogram of |x| to the amax of a symmetric int8 quantizer: the calibration methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from qat.histogram import Histogram

Method = Literal["max", "percentile", "entropy", "mse"]
LEVELS = 128  # magnitudes an int8 value can have
CANDIDATES = 256  # thresholds that mse and entropy try


def amax_from(histogram: Histogram, method: Method, percentile: float) -> float:
    """The range by `method`; 0.0 for a tensor that was all zero.

    - max: the largest magnitude seen.
    - percentile: the magnitude below which `percentile` % of the values lie (interpolated inside a bin).
    - mse: the range with the least expected squared quantization and clipping error.
    - entropy: the range whose quantized distribution has the least Kullback-Leibler divergence from the true one
      (Migacz, "8-bit Inference with TensorRT", GTC 2017).
    """
    if histogram.amax == 0.0 or method == "max":
        return histogram.amax
    if method == "percentile":
        return min(_percentile(histogram, percentile), histogram.amax)
    cost = _squared_error if method == "mse" else _divergence
    return min(_cheapest(histogram, cost), histogram.amax)


def _percentile(histogram: Histogram, percentile: float) -> float:
    counts = histogram.counts
    cumulative = counts.cumsum(0)
    target = cumulative[-1] * (percentile / 100)
    index = int(torch.searchsorted(cumulative, target).clamp_max(counts.numel() - 1))
    before = cumulative[index] - counts[index]
    inside = (target - before) / counts[index] if counts[index] > 0 else torch.tensor(1.0)
    return float((index + inside) * histogram.bin_width)


def _cheapest(histogram: Histogram, cost: Callable[[Tensor, int], float]) -> float:
    """The range with the least cost among `CANDIDATES` evenly spaced ones, at least `LEVELS` bins wide.

    The largest value lies in the upper half of the bins, since the limit only doubles when it must.
    """
    used = int(histogram.counts.nonzero().max()) + 1
    ends = sorted({int(end) for end in torch.linspace(LEVELS, used, CANDIDATES).round().tolist()})
    costs = [cost(histogram.counts[:used], end) for end in ends]
    return ends[costs.index(min(costs))] * histogram.bin_width


def _squared_error(counts: Tensor, end: int) -> float:
    """Summed squared error, in bins, of quantizing bin centres with amax at the end of bin `end - 1`."""
    centres = torch.arange(counts.numel(), dtype=counts.dtype) + 0.5
    step = end / (LEVELS - 1)
    quantized = (centres / step).round().clamp_max(LEVELS - 1) * step
    return float((counts * (centres - quantized) ** 2).sum())


def _divergence(counts: Tensor, end: int) -> float:
    """KL divergence of the clipped distribution from its `LEVELS`-level version.

    The first bin is left out, as ReLU fills it with zeros, which every range represents exactly.
    """
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
