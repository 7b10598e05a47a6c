"""benchmarks/measure/latency.py: percentiles, drift and images per second from samples."""

import numpy as np
import pytest

from benchmarks.measure.latency import summarize, throughput_per_s


def test_summary_is_over_all_runs_of_all_rounds():
    samples = np.arange(1.0, 101.0).reshape(20, 5)
    latency = summarize(samples)
    assert (latency.p50, latency.mean) == (50.5, 50.5)
    assert latency.p90 == pytest.approx(90.1)
    assert latency.p99 == pytest.approx(99.01)
    assert latency.cv == pytest.approx(samples.std() / 50.5)
    assert latency.drift == pytest.approx(85.5 / 15.5 - 1), "six rounds of twenty at either end"


def test_throughput_counts_images_not_batches():
    assert throughput_per_s(np.full((2, 2), 20.0), batch=4) == 200
