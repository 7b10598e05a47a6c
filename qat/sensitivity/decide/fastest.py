"""The measured engine to ship, if speed is to decide and not the number of float units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from core.console import say
from deploy.tuning.timing import Ratio, paired_ratio
from qat.sensitivity.decide.pareto import Point, is_noise
from qat.sensitivity.decide.search import Chosen


def fastest_met(chosen: Chosen, points: Sequence[Point], confirm: Callable[[Point, Point], Ratio]) -> Chosen:
    """The set of the fastest measured engine within the tolerance, where speed and not noise says so.

    A set replaces that of the search if it is faster round by round, and again in a second run: the best of several
    is partly the luckiest. Of engines that cannot be told apart the one with the fewest float units is taken.

    Args:
        confirm: times two points anew and returns the first one's latency over the second one's.
    """
    own = next((point for point in points if set(point.float_units) == set(chosen.float_units)), None)
    if own is None:
        return chosen
    within = [point for point in points if point.met and point is not own]
    faster = _faster(chosen, points)
    if faster:
        first = min(faster, key=lambda point: point.latency.value)
        best = min((point for point in faster if not _slower(point, first)), key=_units_then_time)
        if confirm(best, own).high < 1:
            say(f"pareto: {_counted(best)} instead of {len(own.float_units)}: a faster engine, twice")
            return _instead(chosen, best)
        say("pareto: a second run does not confirm the faster engine")
    fewer = [p for p in within if is_noise(p.against_chosen) and len(p.float_units) < len(own.float_units)]
    if fewer:
        best = min(fewer, key=_units_then_time)
        say(f"pareto: {_counted(best)} instead of {len(own.float_units)}: no difference in time")
        return _instead(chosen, best)
    return chosen


def note_of_faster(chosen: Chosen, points: Sequence[Point]) -> str:
    """What to tell when the search's set was kept although the run showed faster engines; empty when it did not."""
    faster = _faster(chosen, points)
    if not chosen.met or not faster:
        return ""
    best = min(faster, key=lambda point: point.latency.value)
    times = best.against_chosen
    return (
        f"an engine with {_counted(best)} is within the tolerance, too, and took {times.value:.2f} "
        f"[{times.low:.2f}, {times.high:.2f}] of the chosen one's time; `choose: fastest` in `engine` takes such a set"
    )


def _faster(chosen: Chosen, points: Sequence[Point]) -> list[Point]:
    others = (point for point in points if set(point.float_units) != set(chosen.float_units))
    return [point for point in others if point.met and point.against_chosen.high < 1]


def _slower(point: Point, than: Point) -> bool:
    mine, theirs = (np.array(item.rounds_ms)[:, np.newaxis] for item in (point, than))
    return paired_ratio(mine, theirs).low > 1


def _counted(point: Point) -> str:
    count = len(point.float_units)
    return f"{count} float unit{'' if count == 1 else 's'}"


def _units_then_time(point: Point) -> tuple[int, float]:
    return len(point.float_units), point.latency.value


def _instead(chosen: Chosen, best: Point) -> Chosen:
    return replace(chosen, float_units=best.float_units, damage=best.damage, met=True, minimal=False)
