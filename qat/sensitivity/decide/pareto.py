"""Damage against engine latency: predict the front from single units, then build and measure its points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from core.console import say
from deploy.tuning.timing import Ratio, Samples, paired_ratio
from qat.sensitivity.decide.engines import Engines
from qat.sensitivity.decide.latency_table import Milliseconds, median_ms
from qat.sensitivity.decide.search import Chosen, layers_of, told
from qat.sensitivity.types import Judge, Measured

KEPT = 256  # partial sets kept while the front is predicted; the cheapest and the best are always among them


SAME = Ratio(1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Predicted:
    """A set of float units and what the sums of single units promise for it."""

    float_units: frozenset[str]
    extra_ms: float
    damage: float


@dataclass(frozen=True)
class Point:
    """A set of float units, built and measured.

    Attributes:
        latency: of the engine.
        rounds_ms: its median in each round of the run that timed all points in turns.
        against_chosen: its latency over that of the set the search chose, from the same rounds; an interval that
            includes 1 is noise.
        predicted_ms, predicted_damage: what the table of single units promised.
        on_front: no other measured point is both as fast and as good.
    """

    float_units: tuple[str, ...]
    latency: Milliseconds
    damage: Measured
    met: bool
    predicted_ms: float | None
    predicted_damage: float | None
    rounds_ms: tuple[float, ...] = ()
    against_chosen: Ratio = SAME
    on_front: bool = False

    def to_json(self) -> dict[str, Any]:
        """The point as JSON values."""
        return {**asdict(self), "told_apart": not is_noise(self.against_chosen)}


def predicted_front(start: float, gains: Mapping[str, float], costs: Mapping[str, float]) -> list[Predicted]:
    """Sets that no other beats in both damage and time, the fastest first, if effects of units simply add up.

    Args:
        start: damage with everything quantized.
        gains: damage that disappears when a unit is float.
        costs: milliseconds that it then takes.
    """
    front = [Predicted(frozenset(), 0.0, start)]
    for unit in sorted(gains, key=lambda name: (-gains[name], name)):
        with_unit = [
            Predicted(item.float_units | {unit}, item.extra_ms + costs[unit], item.damage - gains[unit])
            for item in front
        ]
        front = _thinned(_undominated([*front, *with_unit]), KEPT)
    return front


def _undominated(items: Sequence[Predicted]) -> list[Predicted]:
    best: list[Predicted] = []
    for item in sorted(items, key=lambda item: (item.extra_ms, item.damage, sorted(item.float_units))):
        if not best or item.damage < best[-1].damage:
            best.append(item)
    return best


def _thinned(items: Sequence[Predicted], count: int) -> list[Predicted]:
    """At most `count` of them at even distances, both ends included."""
    if len(items) <= count:
        return list(items)
    return [items[round(index * (len(items) - 1) / (count - 1))] for index in range(count)]


def pareto(
    judge: Judge,
    engines: Engines,
    gains: Mapping[str, float],
    costs: Mapping[str, float],
    chosen: Chosen,
    points: int,
    once: Callable[[Callable[[], dict[str, Samples]]], dict[str, Samples]] = lambda work: work(),
) -> list[Point]:
    """Measure up to `points` sets of the predicted front, all INT8, and the search's choice; the fastest first.

    All engines are timed in one go, in turns.

    Args:
        gains, costs: by unit, see `predicted_front`.
        once: runs the timing in one of several processes and gives all of them the result.
    """
    start = judge.damage(frozenset(unit.name for unit in judge.units)).value
    front = _thinned(predicted_front(start, gains, costs), max(points, 2))
    promised = {item.float_units: item for item in front}
    sets = list(dict.fromkeys([*promised, frozenset[str](), frozenset(chosen.float_units)]))
    say(f"pareto: building and timing {len(sets)} engines")
    skips = {str(index): layers_of(judge.units, sorted(item)) for index, item in enumerate(sets)}
    samples = once(lambda: engines.time(skips))
    own = str(sets.index(frozenset(chosen.float_units)))
    found = []
    for index, float_units in enumerate(sets):
        damage = judge.damage(frozenset(unit.name for unit in judge.units) - float_units)
        latency, hope = median_ms(samples[str(index)]), promised.get(float_units)
        ratio = paired_ratio(samples[str(index)], samples[own])
        noise = ", not told apart from the search's choice" if is_noise(ratio) and str(index) != own else ""
        say(f"pareto: {len(float_units)} units float: {latency.value:.2f} ms{noise}, {told(damage)}")
        found.append(
            Point(
                tuple(unit.name for unit in judge.units if unit.name in float_units),
                latency,
                damage,
                judge.met(damage),
                hope.extra_ms if hope else None,
                hope.damage if hope else None,
                tuple(np.median(samples[str(index)], axis=1).tolist()),
                ratio,
            )
        )
    found.sort(key=lambda point: point.latency.value)
    return [replace(point, on_front=_on_front(point, found)) for point in found]


def _on_front(point: Point, others: Sequence[Point]) -> bool:
    mine = point.latency.value, point.damage.value
    return not any(
        theirs != mine and theirs[0] <= mine[0] and theirs[1] <= mine[1]
        for theirs in ((other.latency.value, other.damage.value) for other in others)
    )


def is_noise(ratio: Ratio) -> bool:
    """Whether two engines cannot be told apart."""
    return ratio.low <= 1 <= ratio.high
