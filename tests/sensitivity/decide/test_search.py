from __future__ import annotations

import random
from itertools import combinations

import pytest

from qat.sensitivity.decide.search import layers_of, search
from tests.sensitivity.decide.formula import Formula, by_damage, ranking


def test_nothing_is_reverted_when_all_quantized_meets_the_tolerance() -> None:
    evaluator = Formula({"a": 0.02, "b": 0.01}, tolerance=0.05)
    chosen = search(evaluator, by_damage(evaluator))
    assert chosen.met and chosen.minimal and chosen.float_groups == () and chosen.evaluations == 1


def test_the_most_harmful_group_goes_first() -> None:
    evaluator = Formula({"a": 0.01, "b": 0.5, "c": 0.02}, tolerance=0.05)
    chosen = search(evaluator, by_damage(evaluator))
    assert chosen.float_groups == ("b",) and chosen.met and [step.action for step in chosen.steps] == ["revert"]


def test_candidates_and_steps_back_are_measured_together() -> None:
    evaluator = Formula({"a": 0.4, "b": 0.5, "c": 0.02}, tolerance=0.05)
    assert search(evaluator, by_damage(evaluator)).float_groups == ("b", "a")
    reverts = {frozenset("ac"), frozenset("bc"), frozenset("ab"), frozenset("c"), frozenset("a")}
    assert evaluator.prepared == reverts | {frozenset("ac"), frozenset("bc")}


def test_a_wrong_ranking_is_mended_by_measuring() -> None:
    evaluator = Formula({"a": 0.01, "b": 0.5, "c": 0.02}, tolerance=0.05)
    assert search(evaluator, ranking(["a", "c", "b"]), window=3).float_groups == ("b",)


def test_groups_that_harm_only_together() -> None:
    evaluator = Formula({"a": 0.03, "b": 0.01, "c": 0.01}, 0.06, pairs={frozenset({"b", "c"}): 0.4})
    chosen = search(evaluator, by_damage(evaluator))
    assert chosen.met and len(chosen.float_groups) == 1 and chosen.float_groups[0] in ("b", "c")


def test_step_back_drops_what_later_reverts_made_unnecessary() -> None:
    """One revert at a time: `a` looks best at first, but `b` and `c` are both needed and enough."""
    pairs = {frozenset({"a", "b"}): 0.3, frozenset({"a", "c"}): 0.3}
    evaluator = Formula({"a": 0.0, "b": 0.2, "c": 0.2, "d": 0.01}, 0.05, pairs)
    chosen = search(evaluator, by_damage(evaluator))
    assert chosen.met and chosen.float_groups == ("b", "c")
    assert ("restore", "a") in [(step.action, step.group) for step in chosen.steps]


def test_a_tolerance_that_float_misses_is_not_met() -> None:
    evaluator = Formula({"a": 0.1, "b": 0.2}, tolerance=-0.5)
    chosen = search(evaluator, by_damage(evaluator))
    assert not chosen.met and chosen.float_groups == () and chosen.evaluations == 2


@pytest.mark.parametrize("seed", range(20))
def test_as_small_as_brute_force_on_additive_damage(seed: int) -> None:
    numbers = random.Random(seed)
    evaluator = Formula({f"u{i}": numbers.random() for i in range(7)}, tolerance=numbers.uniform(0.2, 2.0))
    order = list(evaluator.own)
    numbers.shuffle(order)
    chosen = search(evaluator, ranking(order), window=7, max_evaluations=500)
    assert chosen.met and chosen.minimal and len(chosen.float_groups) == _fewest(evaluator)


@pytest.mark.parametrize("seed", range(20))
def test_no_single_group_can_be_dropped(seed: int) -> None:
    numbers = random.Random(seed)
    own = {f"u{i}": numbers.random() for i in range(8)}
    pairs = {frozenset(numbers.sample(sorted(own), 2)): numbers.uniform(-0.5, 1.0) for _ in range(6)}
    evaluator = Formula(own, 1.0, pairs)
    chosen = search(evaluator, by_damage(evaluator), max_evaluations=500)
    assert chosen.met and chosen.minimal
    quantized = frozenset(own) - set(chosen.float_groups)
    assert not any(evaluator.met(evaluator.damage(quantized | {name})) for name in chosen.float_groups)


def test_evaluations_are_bounded_and_the_tolerance_is_met_all_the_same() -> None:
    evaluator = Formula({f"u{i}": 1.0 for i in range(40)}, tolerance=0.5)
    chosen = search(evaluator, by_damage(evaluator), max_evaluations=30)
    assert chosen.met and not chosen.minimal and len(chosen.float_groups) == 40
    assert evaluator.asked == chosen.evaluations <= 30 + 6


def test_two_searches_are_the_same() -> None:
    evaluator = Formula({"a": 0.3, "b": 0.3, "c": 0.3, "d": 0.1}, tolerance=0.5)
    assert search(evaluator, by_damage(evaluator)) == search(evaluator, by_damage(evaluator))


def test_candidates_may_be_compared_on_fewer_images() -> None:
    evaluator = Formula({"a": 0.3, "b": 0.3}, tolerance=0.4)
    assert search(evaluator, by_damage(evaluator), trial_images=4).damage.images == 16


def test_layers_of_groups() -> None:
    evaluator = Formula({"a": 0.3, "b": 0.3}, tolerance=0.4)
    assert layers_of(evaluator.groups, ["b"]) == ("b",)


def _fewest(evaluator: Formula) -> int:
    names = frozenset(evaluator.own)
    return next(
        size
        for size in range(len(names) + 1)
        if any(evaluator.met(evaluator.damage(names - set(out))) for out in combinations(sorted(names), size))
    )
