"""Chooses the measured engine to ship by speed instead of the number of float groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from core.console import say
from deploy.tuning.timing import Ratio, paired_ratio
from qat.sensitivity.decide.pareto import Point
from qat.sensitivity.decide.search import Chosen


def fastest_met(chosen: Chosen, points: Sequence[Point], confirm: Callable[[Point, Point], Ratio]) -> Chosen:
    """The set of the fastest measured engine within the tolerance, if the difference exceeds the noise.

    A set replaces that of the search if it is faster round by round, and again in a second run, since the best of
    several is partly lucky. Among engines without a measurable difference, the one with the fewest float groups is
    taken.

    Args:
        confirm: times two points again and returns the first one's latency over the second one's.
    """
    own = next((point for point in points if set(point.float_groups) == set(chosen.float_groups)), None)
    if own is None:
        return chosen
    faster = _faster(chosen, points)
    if faster:
        first = min(faster, key=lambda point: point.latency.value)
        best = min((point for point in faster if not _slower(point, first)), key=_groups_then_time)
        if confirm(best, own).high < 1:
            return _instead(chosen, best, "a faster engine, twice")
        say("pareto: a second run does not confirm the faster engine")
    fewer = [p for p in points if p.met and p.is_noise and len(p.float_groups) < len(own.float_groups)]
    if fewer:
        return _instead(chosen, min(fewer, key=_groups_then_time), "no difference in time")
    return chosen


def note_of_faster(chosen: Chosen, points: Sequence[Point]) -> str:
    """The note that the search's set was kept although the run showed faster engines; empty when it did not."""
    faster = _faster(chosen, points)
    if not chosen.met or not faster:
        return ""
    best = min(faster, key=lambda point: point.latency.value)
    times = best.against_chosen
    return (
        f"an engine with {_counted(len(best.float_groups))} is within the tolerance, too, and took {times.value:.2f} "
        f"[{times.low:.2f}, {times.high:.2f}] of the chosen one's time; `choose: fastest` in `engine` takes such a set"
    )


def _faster(chosen: Chosen, points: Sequence[Point]) -> list[Point]:
    others = (point for point in points if set(point.float_groups) != set(chosen.float_groups))
    return [point for point in others if point.met and point.against_chosen.high < 1]


def _slower(point: Point, than: Point) -> bool:
    mine, theirs = (np.array(item.rounds_ms)[:, np.newaxis] for item in (point, than))
    return paired_ratio(mine, theirs).low > 1


def _counted(count: int) -> str:
    return f"{count} float group{'' if count == 1 else 's'}"


def _groups_then_time(point: Point) -> tuple[int, float]:
    return len(point.float_groups), point.latency.value


def _instead(chosen: Chosen, best: Point, why: str) -> Chosen:
    say(f"pareto: {_counted(len(best.float_groups))} instead of {len(chosen.float_groups)}: {why}")
    return replace(chosen, float_groups=best.float_groups, damage=best.damage, met=True, minimal=False)
