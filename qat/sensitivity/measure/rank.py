"""Ranks groups by harm: all of them by a cheap score, the worst ones by their effect on the task.

1. Screen: every group on a few images, by the change of the network's output in a pass that reuses stored values, or
   by the gradient of the loss (`qat.sensitivity.measure.gradient`).
2. Exact: the worst groups of the screen on a subset of images, by damage in the unit of the tolerance.
3. Full: on all images, groups whose interval still reaches that of the worst group or the tolerance.

Where full quantization does not worsen the task (the interval of its damage reaches 0), labels cannot rank groups: the
order of the screen stays, and the exact numbers are only reported.
"""

from __future__ import annotations

from qat.sensitivity.measure import distance
from qat.sensitivity.measure.cache import set_key
from qat.sensitivity.measure.evaluator import ImageEvaluator
from qat.sensitivity.measure.gradient import first_order
from qat.sensitivity.measure.trials import FLOAT
from qat.sensitivity.types import GroupScore, Measured, Ranking

Sets = dict[str, frozenset[str]]  # quantized groups, by the name of the group under test


def rank_groups(evaluator: ImageEvaluator) -> Ranking:
    """All groups, the most harmful first; the order depends on the data and the config alone.

    With `one_in`, a group's harm is the damage of quantizing it alone; with `one_out`, the damage that disappears when
    only it is float.
    """
    config, before = evaluator.config, evaluator.trials.forwards
    one_in = config.mode == "one_in"
    names = [group.name for group in evaluator.groups]
    sets = {name: frozenset({name}) if one_in else evaluator.everything - {name} for name in names}
    scores = _screened(evaluator, sets)
    order = sorted(names, key=lambda name: -_harm(scores[name], one_in))  # equals stay in the order of computation
    top = order[: config.exact_top]
    exact = _exact(evaluator, {name: sets[name] for name in top}, config.exact_images)
    labels_tell = evaluator.between(FLOAT, evaluator.everything).low > 0
    worst_first = sorted(top, key=lambda name: -exact[name].value) if labels_tell else top
    again = [name for name in worst_first if _is_open(exact[name], exact[worst_first[0]], config.tolerance)]
    exact |= _exact(evaluator, {name: sets[name] for name in again[: config.full_top]}, None)
    ranked = sorted(worst_first, key=lambda name: -exact[name].value) if labels_tell else top
    return Ranking(
        tuple(GroupScore(name, scores[name], exact.get(name)) for name in [*ranked, *order[config.exact_top :]]),
        (evaluator.trials.forwards - before) / len(evaluator.trials.images),
    )


def _exact(evaluator: ImageEvaluator, sets: Sets, images: int | None) -> dict[str, Measured]:
    """Damage of each set against float, or its saving against everything quantized."""
    if not sets:
        return {}
    evaluator.prepare(list(sets.values()), images)
    if evaluator.config.mode == "one_in":
        return {name: evaluator.between(FLOAT, groups, images) for name, groups in sets.items()}
    return {name: evaluator.between(groups, evaluator.everything, images) for name, groups in sets.items()}


def _screened(evaluator: ImageEvaluator, sets: Sets) -> dict[str, dict[str, Measured]]:
    """Scores of every group by name."""
    config, trials = evaluator.config, evaluator.trials
    images = evaluator.subset(config.screen_images)
    if config.screen == "gradient":
        return {name: {"taylor": score} for name, score in first_order(trials, images, config.seed).items()}
    trials.measure(list(sets.values()), images, "distances", "screening groups")
    return {
        name: distance.scores([trials.cache.distances[(set_key(groups), image)] for image in images], config.seed)
        for name, groups in sets.items()
    }


def _harm(scores: dict[str, Measured], one_in: bool) -> float:
    if "taylor" in scores:
        return scores["taylor"].value
    return scores["snr_db"].value * (-1 if one_in else 1)  # one_out: without the worst group the outputs agree best


def _is_open(found: Measured, worst: Measured, tolerance: float) -> bool:
    """Return True if its interval reaches that of the worst group, or the tolerance."""
    return found.high >= worst.low or found.low <= tolerance <= found.high
