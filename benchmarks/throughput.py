"""Throughput of the measured engines: all CPUs busy, several requests at a time, one engine after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Outcome
from benchmarks.results import Row, Throughput
from core.console import say, track
from deploy.targets.base import Bundle
from deploy.targets.throughput import sustained
from qat.tracing.export import INPUT_NAME


def with_throughput(
    rows: Sequence[Row], outcomes: Sequence[Outcome], image: NDArray[np.float32], threads: int, limit_ms: int
) -> list[Row]:
    """`rows` with `throughput` filled in where the engine ran and its backend has such a mode.

    Args:
        outcomes: in the order of `rows`.
        image: (N, C, H, W) that every request gets.
        limit_ms: how long each engine is kept busy; 0 leaves all rows as they are.
    """
    if not limit_ms:
        return list(rows)
    pairs = list(zip(rows, outcomes, strict=True))
    return [_with_throughput(row, outcome, image, threads, limit_ms) for row, outcome in track(pairs, "throughput")]


def _with_throughput(row: Row, outcome: Outcome, image: NDArray[np.float32], threads: int, limit_ms: int) -> Row:
    if row.status != "ok" or outcome.bundle is None:
        return row
    try:
        found = _measured(outcome.bundle, image, threads, limit_ms / 1e3)
    except Exception as error:  # a vendor's runtime may raise anything; the latency of this engine still stands
        say(f"{row.name}: throughput failed: {type(error).__name__}: {error}")
        return row
    return row.model_copy(update={"throughput": found})


def _measured(bundle: Bundle, image: NDArray[Any], threads: int, limit_s: float) -> Throughput | None:
    load = sustained(bundle, {INPUT_NAME: image}, threads, limit_s)
    if load is None:
        return None
    images = load.inferences * len(image)
    return Throughput(images_per_s=images / load.seconds, requests=load.requests, threads=load.threads, images=images)
