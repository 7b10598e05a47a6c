"""From a histogram of |x| to the amax of a symmetric int8 quantizer: the calibration methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from core.config import ActivationCalibrator
from deploy.plan.histogram import Histogram

Counts = NDArray[np.float64]
Ends = NDArray[np.int64]
LEVELS = 128  # magnitudes an int8 value can have
CANDIDATES = 256  # thresholds that mse and entropy try


def amax_from(
    histogram: Histogram, method: ActivationCalibrator, percentile: float = 99.99, momentum: float = 0.9
) -> float:
    """The range by `method`; 0.0 for a tensor that was all zero.

    - max: the largest magnitude seen.
    - moving_average: of the largest magnitude in each batch; the first batch sets it. Each later one moves it by
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


def origin_of(method: ActivationCalibrator) -> str:
    """The origin of a range by `method`, as plans record it."""
    return "moving-average" if method == "moving_average" else f"histogram-{method}"


def _moving_average(peaks: Sequence[float], momentum: float) -> float:
    average = peaks[0]
    for peak in peaks[1:]:
        average = momentum * average + (1 - momentum) * peak
    return average


def _percentile(histogram: Histogram, percentile: float) -> float:
    counts = histogram.counts
    cumulative = counts.cumsum()
    target = cumulative[-1] * (percentile / 100)
    index = min(int(np.searchsorted(cumulative, target)), counts.size - 1)
    before = cumulative[index] - counts[index]
    inside = (target - before) / counts[index] if counts[index] > 0 else 1.0
    return float((index + inside) * histogram.bin_width)


def _cheapest(histogram: Histogram, costs: Callable[[Counts, Ends], Counts]) -> float:
    """The range with the least cost among `CANDIDATES` evenly spaced ones, at least `LEVELS` bins wide.

    The largest value lies in the upper half of the bins, since the limit only doubles when it must.
    """
    used = int(np.flatnonzero(histogram.counts).max()) + 1
    ends = np.unique(np.linspace(LEVELS, used, CANDIDATES, dtype=np.float32).round().astype(np.int64))
    return int(ends[costs(histogram.counts[:used], ends).argmin()]) * histogram.bin_width


def squared_errors(counts: Counts, ends: Ends) -> Counts:
    """Summed squared error, in bins, of quantizing bin centres with amax at each of `ends`.

    Args:
        counts: float64, one count a bin.
        ends: int64; a range of `end` covers the bins before that index.
    """
    centres = np.arange(counts.size) + 0.5
    steps = ends[:, np.newaxis] / (LEVELS - 1)
    quantized = np.minimum(np.rint(centres / steps), LEVELS - 1) * steps
    costs: Counts = np.square(quantized - centres) @ counts
    return costs


def divergences(counts: Counts, ends: Ends) -> Counts:
    """KL divergence of the distribution clipped at each of `ends` from its `LEVELS`-level version.

    Clipped values count for the last bin inside. The first bin is left out, as ReLU fills it with zeros, which every
    range represents exactly. Levels are runs of bins, so sums over them are differences of prefix sums: with P the
    true distribution and Q constant on each level's non-empty bins, KL = sum(P log P) - sum over levels of P log Q.

    Args:
        counts: float64, one count a bin.
        ends: int64 index behind the last bin inside.
    """
    last, widths = ends - 1, ends - 1
    tail = counts.sum() - counts.cumsum()[last]
    raised = counts[last] + tail
    added = (counts[last] == 0) & (tail > 0)  # the last bin holds only clipped values
    edges = 1 + -(-np.arange(LEVELS + 1) * widths[:, np.newaxis] // LEVELS)
    mass = _between(counts, edges)
    rows, clipped_level = np.arange(ends.size), (widths - 1) * LEVELS // widths
    members = _between((counts > 0).astype(np.float64), edges)
    members[rows, clipped_level] += added
    true_mass = mass.copy()
    true_mass[rows, clipped_level] += tail
    total = mass.sum(1, keepdims=True)
    level = np.maximum(mass / np.maximum(members, 1) / np.maximum(total, np.finfo(np.float64).tiny), 1e-12)
    true_total = true_mass.sum(1)
    entropies = _between(_xlogx(counts), np.stack([np.ones_like(last), last], 1))[:, 0]
    entropies = (entropies + _xlogx(raised)) / true_total - np.log(true_total)
    cost = entropies - (true_mass * np.log(level)).sum(1) / true_total
    return np.where(total[:, 0] > 0, cost, np.inf)


def _xlogx(values: Counts) -> Counts:
    result: Counts = values * np.log(np.where(values > 0, values, 1.0))
    return result


def _between(values: Counts, edges: Ends) -> Counts:
    """Sums of `values` from each of `edges` (rows of indices) to the next."""
    prefix = np.concatenate([[0.0], values.cumsum()])
    return np.diff(prefix[edges], axis=1)
