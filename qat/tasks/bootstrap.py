"""95 % intervals by resampling images; both networks are resampled together, since they saw the same images."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from core.interval import Interval

RESAMPLES = 1000

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@lru_cache(maxsize=4)
def multiplicities(images: int, seed: int, resamples: int = RESAMPLES) -> NDArray[np.float64]:
    """How often each image is in each resample: float64 (resamples, images), shared; rows sum to `images`."""
    generator = np.random.default_rng((seed, images))
    return generator.multinomial(images, np.full(images, 1 / images), size=resamples).astype(np.float64)


def interval(statistic: Statistic, images: int, seed: int) -> Interval:
    """A statistic over images with its percentile interval (Efron and Tibshirani, 1993, chapter 13).

    Args:
        statistic: from weights (k, images) to k values; paired differences take both networks in one call.
    """
    value = float(statistic(np.ones((1, images)))[0])
    if images == 1:
        return Interval(value, value, value)
    low, high = np.nanpercentile(statistic(multiplicities(images, seed)), (2.5, 97.5))
    return Interval(value, min(float(low), value), max(float(high), value))


def mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted means of `values` (images,) by `weights` (k, images); values that are not finite do not count."""
    finite = np.isfinite(values)
    counted = weights * finite
    totals = counted.sum(axis=1)
    return counted @ np.where(finite, values, 0.0) / np.where(totals > 0, totals, np.nan)
