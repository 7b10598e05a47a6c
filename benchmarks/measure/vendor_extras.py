"""Measurements with vendors' own tools, made after the latencies: throughput with all CPUs busy, and time by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.record.details import Layer
from benchmarks.record.rows import Row, Throughput
from core.console import say, track
from core.errors import one_line
from deploy.bundle.types import Bundle
from deploy.pipeline import BuildOutcome
from deploy.targets.layer_times import layer_times
from deploy.targets.throughput import sustained
from qat.tracing.export import INPUT_NAME

PROFILED_RUNS = 10

T = TypeVar("T")


def with_throughput(
    rows: Sequence[Row], outcomes: Sequence[BuildOutcome], image: NDArray[np.float32], threads: int, limit_ms: int
) -> list[Row]:
    """`rows` with `throughput` filled in where the engine ran and its backend has such a mode.

    Args:
        outcomes: in the order of `rows`.
        image: (N, C, H, W), the input of every request.
        limit_ms: busy time of each engine; 0 leaves all rows unchanged.
    """

    def busy(bundle: Bundle) -> Throughput | None:
        load = sustained(bundle, {INPUT_NAME: image}, threads, limit_ms / 1e3)
        if load is None:
            return None
        images = load.inferences * len(image)
        speed = images / load.seconds
        return Throughput(images_per_s=speed, requests=load.requests, threads=load.threads, images=images)

    found = _of_each(rows, outcomes, "throughput", busy) if limit_ms else {}
    return [row.model_copy(update={"throughput": found.get(row.name)}) for row in rows]


def layer_costs(
    rows: Sequence[Row], outcomes: Sequence[BuildOutcome], image: NDArray[np.float32]
) -> dict[str, tuple[Layer, ...]]:
    """Layers by time of every engine that ran and whose backend has a profiler, by row name.

    Args:
        outcomes: in the order of `rows`.
        image: (1, C, H, W).
    """

    def profile(bundle: Bundle) -> tuple[Layer, ...] | None:
        times = layer_times(bundle, {INPUT_NAME: image}, PROFILED_RUNS)
        return None if times is None else tuple(Layer(**vars(time)) for time in times)

    return _of_each(rows, outcomes, "profile", profile)


def _of_each(
    rows: Sequence[Row], outcomes: Sequence[BuildOutcome], title: str, ask: Callable[[Bundle], T | None]
) -> dict[str, T]:
    """Results by row name, without None; an engine that fails here keeps its latency."""
    found = {}
    pairs = [(row, outcome.bundle) for row, outcome in zip(rows, outcomes, strict=True) if row.status == "ok"]
    for row, bundle in track(pairs, title):
        try:
            answer = ask(bundle) if bundle else None
        except Exception as error:  # a vendor's runtime or profiler may raise anything
            say(f"{row.name}: {title} failed: {one_line(error)}")
        else:
            if answer is not None:
                found[row.name] = answer
    return found
