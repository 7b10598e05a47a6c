"""Images per second with every CPU busy: several requests at a time, as a server would send them."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from deploy.bundle.types import Bundle
from deploy.targets import get_backend
from deploy.targets.base import Tensors, Wait


@dataclass(frozen=True)
class Load:
    """`inferences` in `seconds`, `requests` of them at a time on `threads` threads in all."""

    inferences: int
    seconds: float
    requests: int
    threads: int


def sustained(bundle: Bundle, feeds: Tensors, threads: int, limit_s: float) -> Load | None:
    """Keep the engine busy for `limit_s` seconds after one inference per request that does not count.

    The time includes copying each request's inputs into the engine and its results out of it.

    Args:
        feeds: one inference's inputs; all requests get the same.
        threads: CPUs to use.

    Returns:
        None for a backend without a throughput mode here (TensorRT).

    Raises:
        UserError: the bundle changed since it was built (see `deploy.bundle.store.check_bundle`).
    """
    opened = get_backend(bundle.backend).requests(bundle, threads)
    if opened is None:
        return None
    with opened as requests:
        for wait in [requests.submit(feeds) for _ in range(requests.capacity)]:
            wait()
        under_way: deque[Wait] = deque()
        start, inferences = time.perf_counter(), 0
        while time.perf_counter() - start < limit_s:
            if len(under_way) == requests.capacity:
                under_way.popleft()()
            under_way.append(requests.submit(feeds))
            inferences += 1
        while under_way:
            under_way.popleft()()
        return Load(inferences, time.perf_counter() - start, requests.capacity, threads)
