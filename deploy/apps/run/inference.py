"""Inference requests: one at a time for latency, several in flight for throughput."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from deploy.bundle.types import Bundle
from deploy.targets import get_backend

Mode = Literal["latency", "throughput"]
Mask = NDArray[np.uint8]
KEPT_TIMES = 10_000
Wait = Callable[[], Mask]  # waits for the mask (H, W) of one request


@dataclass(frozen=True)
class Requests:
    """`submit` takes an image, uint8 (H, W, 3); at most `capacity` results may be outstanding.

    `times_ms` holds the times of the latest inferences where they run one by one; all times of a camera would fill
    memory.
    """

    capacity: int
    submit: Callable[[NDArray[np.uint8]], Wait]
    times_ms: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_TIMES))


@contextmanager
def open_requests(bundle: Bundle, mode: Mode, threads: int) -> Iterator[Requests]:
    """Open an image → mask engine.

    Args:
        threads: CPUs for throughput; for latency the engine's own number is used.

    Raises:
        UserError: the engine has no throughput mode here, or its files changed since it was built.
    """
    if mode == "latency":
        with get_backend(bundle.backend).open(bundle) as session:
            image, mask = session.input_names[0], session.output_names[0]
            times_ms: deque[float] = deque(maxlen=KEPT_TIMES)

            def run(rgb: NDArray[np.uint8]) -> Wait:
                start = time.perf_counter()
                result = session.run({image: rgb[np.newaxis]})[mask][0]
                times_ms.append((time.perf_counter() - start) * 1e3)
                return lambda: result

            yield Requests(1, run, times_ms)
        return
    opened = get_backend(bundle.backend).requests(bundle, threads)
    if opened is None:
        raise UserError(
            f"{bundle.backend} has no throughput mode",
            why="several execution contexts could not be tried during development",
            fix="use --mode latency",
        )
    with opened as requests:
        (image,), (mask,) = requests.input_names, requests.output_names

        def submit(rgb: NDArray[np.uint8]) -> Wait:
            wait = requests.submit({image: rgb[np.newaxis]})
            return lambda: np.asarray(wait()[mask][0], np.uint8)

        yield Requests(requests.capacity, submit)
