"""From a histogram of |x| to the amax of a symmetric int8 quantizer: the calibration methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from core.config import ActivationCalibrator
from qat.calibration.histogram import Histogram

LEVELS = 128  # magnitudes an int8 value can have
CANDIDATES = 256  # thresholds that mse and entropy try


def amax_from(
    histogram: Histogram, method: ActivationCalibrator, percentile: float = 99.99, momentum: float = 0.9
) -> float:
    """The range by `method`; 0.0 for a tensor that was all zero.

    - max: the largest magnitude seen.
    - moving_average: of the largest magnitude in each batch, of which the first sets it; each later one moves it by
      1 - `momentum` of the difference.
    - percentile: the magnitude below which `percentile` % of the values lie (interpolated inside a bin).
    - mse: the range with the least expected squared quantization and clipping error.
    - entropy: the range whose quantized distribution has the least Kullback-Leibler divergence from the true one
      (Migacz, "8-bit Inference with TensorRT", GTC 2017).
    """
    if histogram.amax == 0.0 or method == "max":
        return histogram.amax
    if method == "moving_average":
        return _moving_average(histogram.peaks, momentum)
    if method == "percentile":
        return min(_percentile(histogram, percentile), histogram.amax)
    costs = squared_errors if method == "mse" else divergences
    return min(_cheapest(histogram, costs), histogram.amax)


def _moving_average(peaks: Sequence[float], momentum: float) -> float:
    average = peaks[0]
    for peak in peaks[1:]:
        average = momentum * average + (1 - momentum) * peak
    return average


def _percentile(histogram: Histogram, percentile: float) -> float:
    counts = histogram.counts
    cumulative = counts.cumsum(0)
    target = cumulative[-1] * (percentile / 100)
    index = int(torch.searchsorted(cumulative, target).clamp_max(counts.numel() - 1))
    before = cumulative[index] - counts[index]
    inside = (target - before) / counts[index] if counts[index] > 0 else torch.tensor(1.0)
    return float((index + inside) * histogram.bin_width)


def _cheapest(histogram: Histogram, costs: Callable[[Tensor, Tensor], Tensor]) -> float:
    """The range with the least cost among `CANDIDATES` evenly spaced ones, at least `LEVELS` bins wide.

    The largest value lies in the upper half of the bins, since the limit only doubles when it must.
    """
    used = int(histogram.counts.nonzero().max()) + 1
    ends = torch.linspace(LEVELS, used, CANDIDATES).round().long().unique()
    return int(ends[costs(histogram.counts[:used], ends).argmin()]) * histogram.bin_width


def squared_errors(counts: Tensor, ends: Tensor) -> Tensor:
    """Summed squared error, in bins, of quantizing bin centres with amax at each of `ends`.

    Args:
        counts: float64, one count a bin.
        ends: int64; a range of `end` covers the bins before that index.
    """
    centres = torch.arange(counts.numel(), dtype=counts.dtype) + 0.5
    steps = ends.to(counts.dtype).unsqueeze(1) / (LEVELS - 1)
    quantized = (centres / steps).round_().clamp_max_(LEVELS - 1).mul_(steps)
    return quantized.sub_(centres).square_() @ counts


def divergences(counts: Tensor, ends: Tensor) -> Tensor:
    """KL divergence of the distribution clipped at each of `ends` from its `LEVELS`-level version.

    What is clipped counts for the last bin inside. The first bin is left out, as ReLU fills it with zeros, which every
    range represents exactly. Levels are runs of bins, so sums over them are differences of prefix sums: with P the
    true distribution and Q constant on each level's non-empty bins, KL = sum(P log P) - sum over levels of P log Q.

    Args:
        counts: float64, one count a bin.
        ends: int64 index behind the last bin inside.
    """
    last, widths = ends - 1, ends - 1
    tail = counts.sum() - counts.cumsum(0)[last]
    raised = counts[last] + tail
    added = (counts[last] == 0) & (tail > 0)  # the last bin holds nothing but what was clipped
    edges = 1 + -(-torch.arange(LEVELS + 1) * widths.unsqueeze(1) // LEVELS)
    mass = _between(counts, edges)
    rows, clipped_level = torch.arange(ends.numel()), (widths - 1) * LEVELS // widths
    members = _between((counts > 0).to(counts.dtype), edges)
    members[rows, clipped_level] += added
    true_mass = mass.clone()
    true_mass[rows, clipped_level] += tail
    total = mass.sum(1, keepdim=True)
    level = (mass / members.clamp_min(1) / total).clamp_min(1e-12)
    true_total = true_mass.sum(1)
    entropies = _between(torch.xlogy(counts, counts), torch.stack([torch.ones_like(last), last], 1))[:, 0]
    entropies = (entropies + torch.xlogy(raised, raised)) / true_total - true_total.log()
    cost = entropies - (true_mass * level.log()).sum(1) / true_total
    return cost.where(total[:, 0] > 0, torch.inf)


def _between(values: Tensor, edges: Tensor) -> Tensor:
    """Sums of `values` from each of `edges` (rows of indices) to the next."""
    prefix = torch.cat([values.new_zeros(1), values.cumsum(0)])
    return prefix[edges].diff(dim=1)
