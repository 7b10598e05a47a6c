"""Inference requests: one after the other for latency, several under way for throughput."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from deploy.bundle.store import check_bundle
from deploy.bundle.types import Bundle
from deploy.targets import get_backend
from deploy.targets.onnxruntime import backend as onnxruntime_backend
from deploy.targets.openvino import backend as openvino_backend

Mode = Literal["latency", "throughput"]
Mask = NDArray[np.uint8]
KEPT_TIMES = 10_000
Wait = Callable[[], Mask]  # waits for the mask (H, W) of one request


@dataclass(frozen=True)
class Requests:
    """`submit` takes an image, uint8 (H, W, 3); at most `capacity` results may be outstanding.

    `times_ms` are those of the last inferences where they run one by one; of all, a camera would fill the memory.
    """

    capacity: int
    submit: Callable[[NDArray[np.uint8]], Wait]
    times_ms: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_TIMES))


@contextmanager
def open_requests(bundle: Bundle, mode: Mode, threads: int) -> Iterator[Requests]:
    """Open an image → mask engine.

    Args:
        threads: CPUs for throughput; for latency the engine was built for a number of them.

    Raises:
        UserError: the engine has no throughput mode here, or is not what was built.
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
    opener = _THROUGHPUT.get(bundle.backend)
    if opener is None:
        raise UserError(
            f"{bundle.backend} has no throughput mode",
            why="several execution contexts could not be tried during development",
            fix="use --mode latency",
        )
    backend = get_backend(bundle.backend)
    check_bundle(bundle, backend.version(), backend.files)
    with opener(bundle, threads) as requests:
        yield requests


@contextmanager
def _openvino(bundle: Bundle, threads: int) -> Iterator[Requests]:
    """As many requests as the plugin finds best; a request is filled only after its last result was taken."""

    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": threads}
    properties = {**bundle.manifest["properties"], **hints}
    compiled = openvino_backend.compile_model(bundle.dir / openvino_backend.MODEL, properties)
    free = [
        compiled.create_infer_request() for _ in range(int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))
    ]

    def submit(rgb: NDArray[np.uint8]) -> Wait:
        request = free.pop()
        request.get_input_tensor().data[0] = rgb
        request.start_async()

        def wait() -> Mask:
            request.wait()
            mask: Mask = request.get_output_tensor().data[0].copy()
            free.append(request)
            return mask

        return wait

    yield Requests(len(free), submit)


@contextmanager
def _onnxruntime(bundle: Bundle, threads: int) -> Iterator[Requests]:
    """One session of one thread, called from `threads` threads; `run` is thread-safe."""
    session = onnxruntime_backend.open_session(bundle.dir / onnxruntime_backend.MODEL, threads=1)
    image = session.get_inputs()[0].name
    with ThreadPoolExecutor(threads) as pool:

        def submit(rgb: NDArray[np.uint8]) -> Wait:
            future = pool.submit(session.run, None, {image: rgb[np.newaxis]})
            return lambda: np.asarray(future.result()[0][0], np.uint8)

        yield Requests(threads, submit)


_THROUGHPUT = {"openvino": _openvino, "onnxruntime": _onnxruntime}
