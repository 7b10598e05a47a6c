"""Latency of an engine from samples taken in turns."""

from __future__ import annotations

import numpy as np

from benchmarks.record.rows import Latency
from deploy.tuning.timing import Samples

MS_PER_S = 1000.0


def summarize(samples: Samples) -> Latency:
    """Percentiles over all runs of all rounds; drift is from the first third of the rounds to the last."""
    p50, p90, p99 = (float(value) for value in np.percentile(samples, (50, 90, 99)))
    mean = float(samples.mean())
    third = max(1, len(samples) // 3)
    drift = float(np.median(samples[-third:]) / np.median(samples[:third])) - 1
    return Latency(p50=p50, p90=p90, p99=p99, mean=mean, cv=float(samples.std()) / mean, drift=drift)


def throughput_per_s(samples: Samples, batch: int) -> float:
    """Images per second with one batch after the other."""
    return batch * MS_PER_S / float(samples.mean())
