"""Latency and speed-up of several engines from samples taken in turns."""

from __future__ import annotations

import numpy as np

from benchmarks.results import Latency, Speedup
from deploy.tuning.timing import Samples, paired_ratio

MS_PER_S = 1000.0


def summarize(samples: Samples) -> Latency:
    """Percentiles over all runs of all rounds; drift is from the first third of the rounds to the last."""
    p50, p90, p99 = (float(value) for value in np.percentile(samples, (50, 90, 99)))
    mean = float(samples.mean())
    third = max(1, len(samples) // 3)
    drift = float(np.median(samples[-third:]) / np.median(samples[:third])) - 1
    return Latency(p50=p50, p90=p90, p99=p99, mean=mean, cv=float(samples.std()) / mean, drift=drift)


def throughput_per_s(samples: Samples, batch: int) -> float:
    """Images per second when one batch follows the other."""
    return batch * MS_PER_S / float(samples.mean())


def speedup(baseline: Samples, candidate: Samples, seed: int = 0) -> Speedup:
    """How many times as fast as `baseline` `candidate` is (see `deploy.tuning.timing.paired_ratio`)."""
    return Speedup(**vars(paired_ratio(baseline, candidate, seed)))
