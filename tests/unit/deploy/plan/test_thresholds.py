"""Calibration methods, against the data behind the histogram."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.plan.histogram import Histogram
from deploy.plan.thresholds import CANDIDATES, LEVELS, amax_from, divergences, squared_errors
from tests.unit.deploy.plan import threshold_oracle

SAMPLES = 100_000
METHODS = ("max", "percentile", "entropy", "mse")


def draw(name, scale=1.0):
    random = np.random.default_rng(3)
    values = {
        "gaussian": lambda: random.normal(size=SAMPLES),
        "laplace": lambda: random.laplace(size=SAMPLES),
        "student": lambda: random.standard_t(3, size=SAMPLES),
        "relu": lambda: np.maximum(random.normal(size=SAMPLES), 0),
        "uniform": lambda: random.uniform(-1, 1, size=SAMPLES),
    }[name]()
    return (scale * values).astype(np.float32)


def histogram(values):
    found = Histogram()
    for part in np.array_split(values, 4):
        found.update(part)
    return found


def squared_error(values, amax):
    """The quantized data: the step is amax / 127, and activations saturate at ±127 steps."""
    step = amax / (LEVELS - 1)
    quantized = np.clip(np.rint(values / step), -LEVELS, LEVELS - 1) * step
    return float(((values - quantized) ** 2).mean())


@pytest.mark.parametrize("name", ["gaussian", "laplace", "student"])
def test_max_is_the_largest_magnitude(name):
    values = draw(name)
    assert amax_from(histogram(values), "max", 99.9) == np.abs(values).max()


@pytest.mark.parametrize("percentile", [50.0, 90.0, 99.0, 99.9, 100.0])
@pytest.mark.parametrize("name", ["gaussian", "relu", "student"])
def test_percentile_is_numpy_s_within_a_bin(name, percentile):
    values = draw(name)
    found = histogram(values)
    expected = np.percentile(np.abs(values), percentile)
    assert abs(amax_from(found, "percentile", percentile) - expected) <= found.bin_width


@pytest.mark.parametrize("scale", [0.01, 1.0, 300.0])
@pytest.mark.parametrize("name", ["gaussian", "laplace", "student", "relu", "uniform"])
def test_mse_is_as_good_as_the_best_range_for_the_data(name, scale):
    values = draw(name, scale)
    found = amax_from(histogram(values), "mse", 99.9)
    largest = np.abs(values).max()
    best = min(squared_error(values, amax) for amax in np.linspace(largest / CANDIDATES, largest, CANDIDATES))
    assert squared_error(values, found) <= 1.03 * best
    assert 0 < found <= largest


def test_mse_clips_heavy_tails_and_keeps_uniform_data():
    heavy, flat = draw("student"), draw("uniform")
    assert amax_from(histogram(heavy), "mse", 99.9) < 0.8 * np.abs(heavy).max()
    assert amax_from(histogram(flat), "mse", 99.9) > 0.99 * np.abs(flat).max()


def test_entropy_clips_an_outlier_far_away():
    values = np.append(draw("gaussian"), np.float32(60.0))
    found = amax_from(histogram(values), "entropy", 99.9)
    assert 3.0 < found < 15.0


def test_entropy_keeps_nearly_all_of_uniform_data():
    values = draw("uniform")
    assert amax_from(histogram(values), "entropy", 99.9) > 0.9


@pytest.mark.parametrize("name", ["gaussian", "laplace", "relu"])
def test_entropy_stays_in_the_range_of_the_data(name):
    values = draw(name)
    found = amax_from(histogram(values), "entropy", 99.9)
    assert np.percentile(np.abs(values), 95) < found <= np.abs(values).max()


@pytest.mark.parametrize("method", METHODS)
def test_range_scales_with_the_data(method):
    values = draw("laplace")
    one, other = (amax_from(histogram(factor * values), method, 99.9) for factor in (1, 16))
    assert other == pytest.approx(16 * one, rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_all_zero_tensor_has_no_range(method):
    assert amax_from(histogram(np.zeros(8, np.float32)), method, 99.9) == 0.0
    assert amax_from(Histogram(), method, 99.9) == 0.0


@pytest.mark.parametrize("method", METHODS)
def test_constant_and_nearly_empty_tensors(method):
    for values in ([0.7], [0.0] * 1000 + [0.7], [1e-5, 1.0]):
        found = amax_from(histogram(np.asarray(values, np.float32)), method, 100.0)
        assert 0 < found <= np.float32(max(values))
    assert amax_from(histogram(np.full(9, 0.7, np.float32)), method, 100.0) == pytest.approx(0.7, rel=0.01)


SPREADS = st.sampled_from([5.0, 40.0, 400.0, 1e4])  # bins over which counts fall e-fold


@settings(max_examples=25, deadline=None)
@given(st.integers(128, 2048), SPREADS, st.floats(0.01, 1), st.integers(0, 2**31))
def test_costs_of_all_candidates_equal_those_of_each(bins, spread, filled, seed):
    random = np.random.default_rng(seed)
    counts = random.poisson(1e4 * np.exp(-np.arange(bins) / spread)).astype(np.float64)
    counts *= random.random(bins) < filled
    counts[-1] = 1
    ends = np.array([LEVELS, LEVELS + 1, *random.integers(LEVELS, bins + 1, 8), bins])
    ends = np.minimum(ends, bins)
    for fast, slow in ((squared_errors, "squared_error"), (divergences, "divergence")):
        expected = [getattr(threshold_oracle, slow)(counts, int(end)) for end in ends]
        np.testing.assert_allclose(fast(counts, ends), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["gaussian", "laplace", "student", "relu", "uniform"])
@pytest.mark.parametrize("method", ["mse", "entropy"])
def test_ranges_are_those_of_one_candidate_at_a_time(name, method):
    found = histogram(draw(name))
    used = int(np.flatnonzero(found.counts).max()) + 1
    ends = sorted({int(end) for end in np.linspace(LEVELS, used, CANDIDATES, dtype=np.float32).round()})
    cost = threshold_oracle.squared_error if method == "mse" else threshold_oracle.divergence
    costs = [cost(found.counts[:used], end) for end in ends]
    expected = min(ends[costs.index(min(costs))] * found.bin_width, found.amax)
    assert amax_from(found, method, 99.9) == expected
