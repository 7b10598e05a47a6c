"""Engines timed in turns, so that a slow minute of the machine hits all of them, and ratios with their uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.config import BenchConfig
from core.console import say, track
from core.interval import Interval
from deploy.targets.base import Session, Tensors

WARMUP_BLOCK_RUNS = 3
WARMUP_BLOCKS = 3  # blocks in a row whose medians must agree
WARMUP_DRIFT = 0.02  # share of their median by which they may differ
BOOTSTRAP_RESAMPLES = 2000

Samples = NDArray[np.float64]  # (rounds, runs) milliseconds
Ratio = Interval  # of times


def warm_up(session: Session, feeds: Tensors, limit_ms: float) -> bool:
    """Run until the medians of three blocks in a row agree; False when they did not within `limit_ms`."""
    spent = 0.0
    medians: list[float] = []
    while spent < limit_ms:
        block = session.time_ms(feeds, WARMUP_BLOCK_RUNS)
        spent += float(block.sum())
        medians = [*medians[1 - WARMUP_BLOCKS :], float(np.median(block))]
        drift = (max(medians) - min(medians)) / float(np.median(medians))
        if len(medians) == WARMUP_BLOCKS and drift <= WARMUP_DRIFT:
            return True
    return False


def time_in_turns(
    sessions: Mapping[str, Session], feeds: Mapping[str, Tensors], plan: BenchConfig
) -> dict[str, Samples]:
    """Time all sessions A B C, C B A, A B C, … for `plan.rounds` rounds.

    Turning the order around cancels a steady drift out of every ratio. Each turn starts with one run that does not
    count: it brings the engine's weights back into the caches that the previous engine has filled.

    Returns:
        Milliseconds by session name, each (rounds, runs_per_round).
    """
    restless = [name for name, session in sessions.items() if not warm_up(session, feeds[name], plan.warmup_ms)]
    if restless and plan.warmup_ms:
        say(f"not steady after {plan.warmup_ms} ms of warm-up, timed as they are: {', '.join(restless)}")
    rounds: dict[str, list[NDArray[Any]]] = {name: [] for name in sessions}
    order = list(sessions)
    for _ in track(range(plan.rounds), "timing", total=plan.rounds):
        for name in order:
            sessions[name].time_ms(feeds[name], 1)
            rounds[name].append(sessions[name].time_ms(feeds[name], plan.runs_per_round))
        order.reverse()
    return {name: np.stack(samples) for name, samples in rounds.items()}


def paired_ratio(numerator: Samples, denominator: Samples, seed: int = 0) -> Ratio:
    """Time ratio of two engines that were timed in turns, with a 95 % interval.

    It is the median over rounds of each round's ratio: a slow phase of the machine affects both engines alike. Rounds
    are resampled (percentile bootstrap), not runs, which are not independent.
    """
    ratios = np.median(numerator, axis=1) / np.median(denominator, axis=1)
    draws = np.random.default_rng(seed).integers(len(ratios), size=(BOOTSTRAP_RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[draws], axis=1), (2.5, 97.5))
    return Ratio(float(np.median(ratios)), float(low), float(high))
