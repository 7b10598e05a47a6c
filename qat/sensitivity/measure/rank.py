"""Rank units by harm: all of them by a cheap score, the worst by what they do to the task.

1. Screen: every unit on a few images, by how far the network's output moves in a pass that reuses kept values, or by
   the gradient of the loss (`qat.sensitivity.measure.gradient`).
2. Exact: the worst of the screen on a subset of images, by the damage that the tolerance is about.
3. Full: on all images, units whose interval still reaches that of the worst one or the tolerance.

Where full quantization does not worsen the task (the interval of its damage reaches 0) labels cannot tell units apart:
the order of the screen stands, and the exact numbers are only reported.
"""

from __future__ import annotations

import time
from dataclasses import replace

from qat.sensitivity.config import SensitivityConfig
from qat.sensitivity.measure import distance
from qat.sensitivity.measure.cache import set_key
from qat.sensitivity.measure.gradient import first_order
from qat.sensitivity.measure.judge import ImageJudge
from qat.sensitivity.measure.probes import FLOAT
from qat.sensitivity.types import Measured, Ranking, UnitScore


def rank_units(judge: ImageJudge, config: SensitivityConfig) -> Ranking:
    """All units, the most harmful first; the order depends on the data and the config alone.

    With `one_in` a unit's harm is that of quantizing it alone; with `one_out`, what leaving only it in float saves.
    """
    started = time.perf_counter()
    probes = judge.probes
    before = probes.forwards
    sets = {unit.name: _set_of(judge, unit.name, config) for unit in judge.units}
    position = {name: index for index, name in enumerate(sets)}
    found = {name: UnitScore(name, scores) for name, scores in _screened(judge, sets, config).items()}
    order = sorted(sets, key=lambda name: (-_harm(found[name], config), position[name]))
    screened = time.perf_counter()
    top = order[: config.exact_top]
    for name, exact in _exact(judge, {name: sets[name] for name in top}, config, config.exact_images).items():
        found[name] = replace(found[name], exact=exact)
    told = judge.between(FLOAT, judge.everything).low > 0
    top = _worst_first(top, found) if told else top
    undecided = [name for name in top if _undecided(found[name].exact, found[top[0]].exact, config.tolerance)]
    again = {name: sets[name] for name in undecided[: config.full_top]}
    for name, exact in _exact(judge, again, config, None).items():
        found[name] = replace(found[name], exact=exact)
    ordered = [*(_worst_first(top, found) if told else top), *order[config.exact_top :]]
    images = len(probes.images)
    cost = {
        "units": float(len(sets)),
        "screen_s": screened - started,
        "total_s": time.perf_counter() - started,
        "full_evaluations": (probes.forwards - before) / images,
        "naive_full_evaluations": float(len(sets)),
    }
    return Ranking(tuple(found[name] for name in ordered), cost)


def _set_of(judge: ImageJudge, unit: str, config: SensitivityConfig) -> frozenset[str]:
    return frozenset({unit}) if config.mode == "one_in" else judge.everything - {unit}


def _exact(
    judge: ImageJudge, sets: dict[str, frozenset[str]], config: SensitivityConfig, images: int | None
) -> dict[str, Measured]:
    """Damage of each set: against float, or what it saves against everything quantized."""
    if not sets:
        return {}
    judge.prepare(list(sets.values()), images)
    if config.mode == "one_in":
        return {name: judge.between(FLOAT, units, images) for name, units in sets.items()}
    return {name: judge.between(units, judge.everything, images) for name, units in sets.items()}


def _screened(
    judge: ImageJudge, sets: dict[str, frozenset[str]], config: SensitivityConfig
) -> dict[str, dict[str, Measured]]:
    """Scores of every unit by name."""
    probes, images = judge.probes, judge.subset(config.screen_images)
    if config.screen == "gradient":
        return {name: {"taylor": score} for name, score in first_order(probes, images, config.seed).items()}
    probes.measure(list(sets.values()), images, "distances", "screening units")
    return {
        name: distance.scores([probes.cache.distances[(set_key(units), image)] for image in images], config.seed)
        for name, units in sets.items()
    }


def _harm(found: UnitScore, config: SensitivityConfig) -> float:
    if config.screen == "gradient":
        return _float(found.scores["taylor"])
    sign = -1 if config.mode == "one_in" else 1  # one_out: without the worst unit the outputs agree best
    return sign * _float(found.scores["snr_db"])


def _worst_first(names: list[str], found: dict[str, UnitScore]) -> list[str]:
    return sorted(names, key=lambda name: -_float(found[name].exact))  # equals stay in the order of the screen


def _undecided(found: Measured | None, worst: Measured | None, tolerance: float) -> bool:
    assert found and worst
    return found.high >= worst.low or found.low <= tolerance <= found.high


def _float(value: Measured | float | None) -> float:
    assert value is not None
    return value.value if isinstance(value, Measured) else value
