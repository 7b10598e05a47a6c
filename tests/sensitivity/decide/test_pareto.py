from __future__ import annotations

import random
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from deploy.tuning.timing import Ratio, paired_ratio
from qat.sensitivity.decide.fastest import fastest_met, note_of_faster
from qat.sensitivity.decide.pareto import Milliseconds, Point, latency_table, pareto, predicted_front, slower_by
from qat.sensitivity.decide.search import search
from tests.sensitivity.decide.formula import Formula, by_damage


class Clock:
    """Engines whose latency is 10 ms plus a fixed time for each float layer.

    The machine is up to `drift` times slower from round to round, and every run has a jitter of `noise` ms.
    """

    key = "clock"

    def __init__(self, costs: dict[str, float], noise: float = 0.0, drift: float = 0.0, seed: int = 0) -> None:
        self.costs, self.noise, self.drift, self.timed = costs, noise, drift, 0
        self.numbers = np.random.default_rng(seed)

    def bundle(self, skip: tuple[str, ...]) -> None:
        pass

    def time(self, wanted: dict[str, tuple[str, ...]]) -> dict[str, np.ndarray]:
        self.timed += 1
        slowness = 1 + self.drift * self.numbers.random((20, 1))
        return {
            name: slowness * (10 + sum(self.costs[layer] for layer in skip))
            + self.noise * self.numbers.standard_normal((20, 3))
            for name, skip in wanted.items()
        }

    def again(self, one: Point, other: Point) -> Ratio:
        samples = self.time({"one": one.float_groups, "other": other.float_groups})
        return paired_ratio(samples["one"], samples["other"])


def test_the_latency_table_is_measured_once(tmp_path: Path) -> None:
    evaluator, clock = Formula({"a": 0.3, "b": 0.2}, 0.1), Clock({"a": 2.0, "b": 0.5})
    for _ in range(2):
        table = latency_table(clock, evaluator.groups, tmp_path / "latency.json")  # type: ignore[arg-type]
        assert table["a"].value == pytest.approx(2.0) and table["b"].value == pytest.approx(0.5)
    assert clock.timed == 1


def test_a_difference_has_an_interval_around_it() -> None:
    numbers = np.random.default_rng(1)
    found = slower_by(numbers.normal(12, 0.1, (20, 5)), numbers.normal(10, 0.1, (20, 5)))
    assert found.low < found.value < found.high and found.low < 2 < found.high


@pytest.mark.parametrize("seed", range(10))
def test_the_predicted_front_is_the_one_of_all_sets(seed: int) -> None:
    numbers = random.Random(seed)
    gains = {f"u{i}": numbers.random() for i in range(6)}
    costs = {name: numbers.random() for name in gains}
    points = [
        (sum(costs[name] for name in chosen), 5 - sum(gains[name] for name in chosen))
        for size in range(7)
        for chosen in combinations(gains, size)
    ]
    expected = sorted(p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points))
    front = [(item.extra_ms, item.damage) for item in predicted_front(5, gains, costs)]
    assert np.allclose(front, expected)


def test_the_fastest_engine_within_the_tolerance_wins() -> None:
    """The search takes the group that helps most; two others help as much for a tenth of its time."""
    evaluator = Formula({"slow": 0.3, "a": 0.2, "b": 0.2}, 0.4)
    clock = Clock({"slow": 5.0, "a": 0.2, "b": 0.2})
    chosen = search(evaluator, by_damage(evaluator))
    assert chosen.float_groups == ("slow",)
    points = pareto(evaluator, clock, evaluator.own, clock.costs, chosen, 6)  # type: ignore[arg-type]
    assert fastest_met(chosen, points, clock.again).float_groups == ("a", "b")
    assert "2 float groups" in note_of_faster(chosen, points)
    assert [point.latency.value for point in points] == sorted(point.latency.value for point in points)
    by_set = {point.float_groups: point for point in points}
    assert by_set[("a", "b")].on_front and not by_set[("slow",)].on_front
    assert by_set[("a", "b")].latency == Milliseconds(10.4, 10.4, 10.4)


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_reason_to_leave_more_groups_float(seed: int) -> None:
    """Float groups cost nothing here, so that every difference between engines is noise."""
    evaluator = Formula({name: 0.1 for name in "abcd"}, 0.35)
    clock = Clock(dict.fromkeys("abcd", 0.0), noise=0.3, drift=0.3, seed=seed)
    chosen = search(evaluator, by_damage(evaluator))
    points = pareto(evaluator, clock, evaluator.own, dict.fromkeys("abcd", -0.1), chosen, 6)  # type: ignore[arg-type]
    assert len(points) > 2
    assert len(fastest_met(chosen, points, clock.again).float_groups) <= len(chosen.float_groups) == 1


def test_a_small_difference_shows_on_a_machine_that_drifts() -> None:
    evaluator = Formula({"slow": 0.3, "a": 0.2, "b": 0.2}, 0.4)
    clock = Clock({"slow": 0.5, "a": 0.0, "b": 0.0}, noise=0.05, drift=0.5)
    chosen = search(evaluator, by_damage(evaluator))
    points = pareto(evaluator, clock, evaluator.own, clock.costs, chosen, 6)  # type: ignore[arg-type]
    own, best = (next(p for p in points if p.float_groups == groups) for groups in (("slow",), ("a", "b")))
    assert best.latency.high > own.latency.low  # latencies alone overlap
    assert best.against_chosen.high < 1 and not best.is_noise
    assert fastest_met(chosen, points, clock.again).float_groups == ("a", "b")


def test_a_gain_that_a_second_run_does_not_show_is_none() -> None:
    evaluator, clock = Formula({"slow": 0.3, "a": 0.2, "b": 0.2}, 0.4), Clock({"slow": 5.0, "a": 0.2, "b": 0.2})
    chosen = search(evaluator, by_damage(evaluator))
    points = pareto(evaluator, clock, evaluator.own, clock.costs, chosen, 6)  # type: ignore[arg-type]
    assert fastest_met(chosen, points, lambda one, other: Ratio(0.99, 0.97, 1.01)) is chosen


def test_of_equally_fast_engines_the_one_with_fewer_float_groups_is_taken() -> None:
    evaluator = Formula({"a": 0.3, "b": 0.2, "c": 0.2}, 0.3)
    chosen = replace(search(evaluator, by_damage(evaluator)), float_groups=("b", "c"))
    clock = Clock({"a": 0.0, "b": 0.0, "c": 0.0}, noise=0.2)
    points = [
        Point(groups, Milliseconds(10, 9, 11), chosen.damage, met, None, None, against_chosen=Ratio(1.0, 0.98, 1.02))
        for groups, met in (((), False), (("a",), True), (("b", "c"), True))
    ]
    assert fastest_met(chosen, points, clock.again).float_groups == ("a",)


def test_without_a_point_within_the_tolerance_the_choice_stays() -> None:
    evaluator, clock = Formula({"a": 0.3}, -1.0), Clock({"a": 1.0})
    chosen = search(evaluator, by_damage(evaluator))
    points = pareto(evaluator, clock, evaluator.own, clock.costs, chosen, 2)  # type: ignore[arg-type]
    assert fastest_met(chosen, points, clock.again) is chosen
    assert note_of_faster(chosen, points) == ""


@pytest.mark.parametrize("seed", range(5))
def test_a_cost_that_is_noise_is_said_to_be(tmp_path: Path, seed: int) -> None:
    evaluator = Formula({"cheap": 0.3, "dear": 0.2}, 0.1)
    clock = Clock({"cheap": 0.0, "dear": 0.5}, noise=0.1, drift=0.5, seed=seed)
    table = latency_table(clock, evaluator.groups, tmp_path / "latency.json")  # type: ignore[arg-type]
    assert not table["dear"].is_noise and abs(table["cheap"].value) < 0.2 < table["dear"].low
