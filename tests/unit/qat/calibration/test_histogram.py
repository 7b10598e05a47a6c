"""Histograms: their counts, and merging, which equals counting all data at once."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from deploy.plan.histogram import BINS
from qat.calibration.histogram import CHUNK
from qat.calibration.histogram import TensorHistogram as Histogram

magnitudes = st.one_of(st.just(0.0), st.floats(2**-13, 2**13, width=32))
parts = st.lists(st.lists(magnitudes, max_size=6), min_size=1, max_size=5)


def histogram(*batches):
    found = Histogram()
    for batch in batches:
        found.update(torch.as_tensor(batch, dtype=torch.float32))
    return found


def assert_equal(one, other):
    assert (one.limit, one.zeros, one.amax) == (other.limit, other.zeros, other.amax)
    assert np.array_equal(one.counts, other.counts)


def test_counts_equal_numpy():
    values = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    found = histogram(values)
    expected, _ = np.histogram(np.abs(values), bins=BINS, range=(0, found.limit))
    assert found.limit == 4.0
    assert found.amax == np.abs(values).max()
    assert found.bin_width == 4.0 / BINS
    assert np.array_equal(found.counts, expected)


@pytest.mark.parametrize("largest", [0.3, 0.5, 1.0, 1.5, 2.0, 3e-5, 7e4])
def test_limit_is_the_next_power_of_two(largest):
    limit = histogram([largest]).limit
    assert limit / 2 <= largest < limit
    assert np.log2(limit) % 1 == 0


def test_growth_keeps_every_count_in_its_bin():
    small = torch.linspace(0, 0.99, 1000)
    grown = histogram(small, [100.0])
    assert grown.counts.sum() == 1001
    assert_equal(grown, histogram(torch.cat([small, torch.tensor([100.0])])))


def test_sign_shape_and_type_do_not_matter():
    values = torch.tensor([[0.5, -1.0], [0.25, -3.0]])
    assert_equal(histogram(values), histogram(values.abs().flatten()))
    halves = Histogram()
    halves.update(values.to(torch.bfloat16))
    assert_equal(halves, histogram(values))


def test_zeros_before_between_and_after_other_values():
    expected = histogram([0.0, 0.0, 0.0, 0.0, 2.5])
    assert expected.counts[0] == 4
    assert_equal(histogram([0.0, 0.0], [2.5], [0.0], [0.0]), expected)
    assert_equal(histogram([0.0], [0.0, 2.5, 0.0], [0.0]), expected)


def test_only_zeros_and_nothing_at_all():
    zeros = histogram(torch.zeros(3, 4))
    assert (zeros.amax, zeros.limit, zeros.zeros) == (0.0, 0.0, 12)
    assert_equal(histogram([]), Histogram())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(value):
    found = histogram([1.0])
    with pytest.raises(UserError, match="NaN or infinity"):
        found.update(torch.tensor([0.5, value]))
    assert_equal(found, histogram([1.0]))


def test_magnitudes_that_cannot_be_counted_are_refused_by_name():
    found = Histogram("layer1.0")
    with pytest.raises(UserError, match=r"layer1.0 reaches 1.66e\+35"):
        found.update(torch.tensor([0.5, 2.0**117]))
    found.update(torch.tensor([0.5, 2.0**116]))
    assert found.counts.sum() == 2 and found.counts[BINS // 2] == 1


def test_more_values_in_a_bin_than_float32_can_count():
    found = Histogram()
    found.update(torch.ones(1).expand(CHUNK + 3))
    assert found.counts.sum() == CHUNK + 3


@settings(max_examples=60, deadline=None)
@given(parts, st.randoms(use_true_random=False))
def test_merging_in_any_order_equals_a_single_pass(batches, random):
    expected = histogram([value for batch in batches for value in batch])
    waiting = [histogram(batch) for batch in batches]
    while len(waiting) > 1:
        random.shuffle(waiting)
        other = waiting.pop()
        counts, limit = other.counts.copy(), other.limit
        waiting[0].merge(other)
        assert np.array_equal(other.counts, counts) and other.limit == limit
    assert_equal(waiting[0], expected)
    assert_equal(histogram(*batches), expected)
