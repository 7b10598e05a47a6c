from __future__ import annotations

import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from qat.sensitivity.latency_table import Milliseconds, latency_table, slower_by
from qat.sensitivity.pareto import Point, fastest_met, pareto, predicted_front
from qat.sensitivity.search import search
from tests.sensitivity.judges import Formula, by_damage


class Clock:
    """Engines whose latency is 10 ms plus a fixed time for each float layer."""

    key = "clock"

    def __init__(self, costs: dict[str, float]) -> None:
        self.costs, self.timed = costs, 0

    def time(self, wanted: dict[str, tuple[str, ...]]) -> dict[str, np.ndarray]:
        self.timed += 1
        return {name: np.full((4, 3), 10 + sum(self.costs[layer] for layer in skip)) for name, skip in wanted.items()}


def test_the_latency_table_is_measured_once(tmp_path: Path) -> None:
    judge, clock = Formula({"a": 0.3, "b": 0.2}, 0.1), Clock({"a": 2.0, "b": 0.5})
    for _ in range(2):
        table = latency_table(clock, judge.units, tmp_path / "latency.json")  # type: ignore[arg-type]
        assert table["a"].value == pytest.approx(2.0) and table["b"].value == pytest.approx(0.5)
    assert clock.timed == 2


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
    """The search takes the one unit that helps most; two others do as well and cost a tenth of its time."""
    judge = Formula({"slow": 0.3, "a": 0.2, "b": 0.2}, 0.4)
    clock = Clock({"slow": 5.0, "a": 0.2, "b": 0.2})
    chosen = search(judge, by_damage(judge))
    assert chosen.float_units == ("slow",)
    points = pareto(judge, clock, judge.own, clock.costs, chosen, 6)  # type: ignore[arg-type]
    assert fastest_met(chosen, points).float_units == ("a", "b")
    assert [point.latency.value for point in points] == sorted(point.latency.value for point in points)
    by_set = {point.float_units: point for point in points}
    assert by_set[("a", "b")].on_front and not by_set[("slow",)].on_front
    assert by_set[("a", "b")].latency == Milliseconds(10.4, 10.4, 10.4)


def test_a_difference_within_the_noise_changes_nothing() -> None:
    judge = Formula({"a": 0.01, "b": 0.01}, 0.4)
    chosen = search(judge, by_damage(judge))
    close = [
        Point(("a",), Milliseconds(9.9, 9.5, 10.3), chosen.damage, True, -0.1, 0.01),
        Point((), Milliseconds(10.0, 9.6, 10.4), chosen.damage, True, 0.0, 0.02),
    ]
    assert fastest_met(chosen, close) is chosen


def test_without_a_point_within_the_tolerance_the_choice_stays() -> None:
    judge, clock = Formula({"a": 0.3}, -1.0), Clock({"a": 1.0})
    chosen = search(judge, by_damage(judge))
    assert fastest_met(chosen, pareto(judge, clock, judge.own, clock.costs, chosen, 2)) is chosen  # type: ignore[arg-type]
