"""Engines take turns, warm-up ends when steady, ratios carry an honest interval (`deploy.tuning.timing`)."""

import numpy as np
import pytest

from core.config import BenchConfig
from deploy.tuning.timing import paired_ratio, time_in_turns, warm_up
from tests.unit.benchmarks.fakes import FakeSession


def test_engines_take_turns_and_the_first_run_of_a_turn_does_not_count():
    log: list[str] = []
    sessions = {"a": FakeSession("a", clock=(9.0, 1.0, 1.0), log=log), "b": FakeSession("b", clock=(9, 2, 2), log=log)}
    plan = BenchConfig(rounds=2, runs_per_round=2, warmup_ms=0)
    samples = time_in_turns(sessions, {"a": {}, "b": {}}, plan)
    assert log == ["a 1", "a 2", "b 1", "b 2", "b 1", "b 2", "a 1", "a 2"], "every other round backwards"
    assert samples["a"].tolist() == [[1, 1], [1, 1]]
    assert samples["b"].tolist() == [[2, 2], [2, 2]]


def test_warm_up_stops_when_three_blocks_agree():
    session = FakeSession(clock=[50.0] * 3 + [20.0] * 3 + [10.0] * 9 + [99.0])
    assert warm_up(session, {}, limit_ms=10_000)
    assert session.runs == 15


def test_warm_up_sees_a_slow_drift_that_two_blocks_would_miss():
    session = FakeSession(clock=[10 * 0.985 ** (run // 3) for run in range(300)])
    assert not warm_up(session, {}, limit_ms=500)


def test_warm_up_that_never_settles_ends_at_its_limit():
    session = FakeSession(clock=[10.0] * 3 + [20.0] * 3)
    assert not warm_up(session, {}, limit_ms=900)
    assert session.runs == 60
    assert not warm_up(session, {}, limit_ms=0)


def test_speedup_interval_holds_the_value_and_is_reproducible():
    rng = np.random.default_rng(1)
    base, fast = rng.normal(40, 2, (20, 5)), rng.normal(20, 1, (20, 5))
    ratio = paired_ratio(base, fast)
    assert ratio.low < ratio.value < ratio.high
    assert ratio.value == pytest.approx(2, abs=0.1)
    assert ratio == paired_ratio(base, fast)


def test_a_slow_minute_that_hits_both_engines_does_not_widen_the_interval():
    weather = np.linspace(1, 3, 20)[:, np.newaxis] * np.ones((20, 5))
    ratio = paired_ratio(40 * weather, 20 * weather)
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((2, 2, 2))


def test_a_difference_smaller_than_the_noise_is_not_called_faster():
    rng = np.random.default_rng(2)
    ratio = paired_ratio(rng.normal(20, 3, (20, 5)), rng.normal(20, 3, (20, 5)))
    assert ratio.low < 1 < ratio.high


def test_many_runs_in_one_round_do_not_count_as_independent():
    rounds = np.random.default_rng(3).normal(40, 4, (20, 1))
    ratio = paired_ratio(rounds * np.ones((20, 50)), np.full((20, 50), 20.0))
    assert ratio.high - ratio.low > 0.1  # 1000 independent runs would give about 0.03


def test_a_slow_phase_of_the_machine_does_not_move_a_ratio():
    fast, slow = np.full((20, 3), 10.0), np.full((20, 3), 12.0)
    phase = np.ones((20, 1))
    phase[7:] = 2.0
    fast[3], slow[12] = 10.5, 12.5  # two rounds with a jolt of one of them
    ratio = paired_ratio(slow * phase, fast * phase)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((1.2, 1.2, 1.2))
