"""95 % intervals by resampling images; both networks are resampled together, since they saw the same images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from core.interval import Interval

RESAMPLES = 1000

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@lru_cache(maxsize=4)
def multiplicities(units: int, seed: int, resamples: int = RESAMPLES) -> NDArray[np.float64]:
    """Counts of each image or group in each resample: float64 (resamples, units), shared; rows sum to `units`."""
    generator = np.random.default_rng((seed, units))
    return generator.multinomial(units, np.full(units, 1 / units), size=resamples).astype(np.float64)


def interval(
    statistic: Statistic, images: int, seed: int, groups: Sequence[int] | None = None, looks: int = 1
) -> Interval:
    """A statistic over images with its percentile interval (Efron and Tibshirani, 1993, chapter 13).

    Args:
        statistic: from weights (k, images) to k values; paired differences take both networks in one call.
        groups: the number of each image's group, from 0; groups are resampled whole, as images of one video are alike.
            None resamples image by image.
        looks: number of intervals for the same question; each then covers 1 - 0.05 / looks (Bonferroni).
    """
    value = float(statistic(np.ones((1, images)))[0])
    member = np.arange(images) if groups is None else np.asarray(groups)
    units = int(member.max()) + 1
    if units == 1:
        return Interval(value, value, value)
    weights = multiplicities(units, seed, RESAMPLES * looks)[:, member]
    low, high = np.nanpercentile(statistic(weights), (2.5 / looks, 100 - 2.5 / looks))
    return Interval(value, min(float(low), value), max(float(high), value))


def mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted means of `values` (images,) by `weights` (k, images); values that are not finite do not count."""
    finite = np.isfinite(values)
    counted = weights * finite
    totals = counted.sum(axis=1)
    return counted @ np.where(finite, values, 0.0) / np.where(totals > 0, totals, np.nan)
