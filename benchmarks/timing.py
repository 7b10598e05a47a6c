"""Latency of several engines, measured in turns so that a slow minute of the machine hits all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import Latency, Speedup
from core.config import BenchConfig
from core.console import say, track
from deploy.backends.base import Session, Tensors

WARMUP_BLOCK_RUNS = 3
WARMUP_BLOCKS = 3  # blocks in a row whose medians must agree
WARMUP_DRIFT = 0.02  # share of their median by which they may differ
BOOTSTRAP_RESAMPLES = 2000
MS_PER_S = 1000.0

Samples = NDArray[np.float64]  # (rounds, runs) milliseconds


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
    for name, session in sessions.items():
        if not warm_up(session, feeds[name], plan.warmup_ms) and plan.warmup_ms:
            say(f"{name}: not steady after {plan.warmup_ms} ms of warm-up; timing it as it is")
    rounds: dict[str, list[NDArray[Any]]] = {name: [] for name in sessions}
    order = list(sessions)
    for _ in track(range(plan.rounds), "timing", total=plan.rounds):
        for name in order:
            sessions[name].time_ms(feeds[name], 1)
            rounds[name].append(sessions[name].time_ms(feeds[name], plan.runs_per_round))
        order.reverse()
    return {name: np.stack(samples) for name, samples in rounds.items()}


def summarize(samples: Samples) -> Latency:
    """Percentiles over all runs of all rounds; drift is from the first third of the rounds to the last."""
    p50, p90, p99 = (float(value) for value in np.percentile(samples, (50, 90, 99)))
    mean = float(samples.mean())
    third = max(1, len(samples) // 3)
    drift = float(np.median(samples[-third:]) / np.median(samples[:third])) - 1
    return Latency(p50=p50, p90=p90, p99=p99, mean=mean, cv=float(samples.std()) / mean, drift=drift)


def throughput_per_s(samples: Samples, batch: int) -> float:
    """Images per second when one batch follows the other."""
    return batch * MS_PER_S / float(samples.mean())


def speedup(baseline: Samples, candidate: Samples, seed: int = 0) -> Speedup:
    """Median of `baseline` over median of `candidate`, with a percentile-bootstrap 95 % interval.

    Rounds are resampled, not runs: runs of one round share the machine's mood and are not independent. The same
    rounds are drawn for both, which were measured side by side.
    """
    rounds = len(baseline)
    draws = np.random.default_rng(seed).integers(rounds, size=(BOOTSTRAP_RESAMPLES, rounds))
    ratios = _medians(baseline, draws) / _medians(candidate, draws)
    low, high = np.percentile(ratios, (2.5, 97.5))
    return Speedup(value=float(np.median(baseline) / np.median(candidate)), low=float(low), high=float(high))


def _medians(samples: Samples, draws: NDArray[np.int64]) -> Samples:
    medians: Samples = np.median(samples[draws], axis=(1, 2))
    return medians
