"""Images per second with every CPU busy: several requests at a time, as a server would send them.

OpenVINO: the THROUGHPUT hint and one AsyncInferQueue (OpenVINO documentation, "High-level Performance Hints").
ONNX Runtime: one session of one thread, called from as many threads as there are CPUs; `run` is thread-safe.
TensorRT would take one execution context and stream for each request; that is not written, since it could not be run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from deploy.bundle.store import check_bundle
from deploy.bundle.types import Bundle
from deploy.targets import get_backend
from deploy.targets.base import Tensors
from deploy.targets.onnxruntime import backend as onnxruntime_backend
from deploy.targets.openvino import backend as openvino_backend


@dataclass(frozen=True)
class Load:
    """`inferences` in `seconds`, `requests` of them at a time on `threads` threads in all."""

    inferences: int
    seconds: float
    requests: int
    threads: int


def sustained(bundle: Bundle, feeds: Tensors, threads: int, limit_s: float) -> Load | None:
    """Keep the engine busy for `limit_s` seconds after one inference per request that does not count.

    Args:
        feeds: one inference's inputs; all requests get the same.
        threads: CPUs to use.

    Returns:
        None for a backend without a throughput mode here (TensorRT).

    Raises:
        UserError: the bundle is not what was built (see `deploy.bundle.store.check_bundle`).
    """
    mode = _MODES.get(bundle.backend)
    if mode is None:
        return None
    backend = get_backend(bundle.backend)
    check_bundle(bundle, backend.version(), backend.files)
    return mode(bundle, feeds, threads, limit_s)


def _openvino(bundle: Bundle, feeds: Tensors, threads: int, limit_s: float) -> Load:
    import openvino

    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": threads}
    properties = {**bundle.manifest["properties"], **hints}
    compiled = openvino_backend.compile_model(bundle.dir / openvino_backend.MODEL, properties)
    requests = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
    queue = openvino.AsyncInferQueue(compiled, requests)
    for request in queue:
        for name, value in feeds.items():
            request.get_tensor(name).data[...] = value
    for _ in range(requests):
        queue.start_async()
    queue.wait_all()
    start, inferences = time.perf_counter(), 0
    while time.perf_counter() - start < limit_s:
        queue.start_async()  # waits for a request that is free
        inferences += 1
    queue.wait_all()
    return Load(inferences, time.perf_counter() - start, requests, threads)


def _onnxruntime(bundle: Bundle, feeds: Tensors, threads: int, limit_s: float) -> Load:
    session = onnxruntime_backend.open_session(bundle.dir / onnxruntime_backend.MODEL, threads=1)
    inputs = {name: np.ascontiguousarray(value) for name, value in feeds.items()}
    with ThreadPoolExecutor(threads) as pool:
        for warm in [pool.submit(session.run, None, inputs) for _ in range(threads)]:
            warm.result()
        start = time.perf_counter()

        def work() -> int:
            done = 0
            while time.perf_counter() - start < limit_s:
                session.run(None, inputs)
                done += 1
            return done

        inferences = sum(worker.result() for worker in [pool.submit(work) for _ in range(threads)])
    return Load(inferences, time.perf_counter() - start, threads, threads)


_MODES: dict[str, Callable[[Bundle, Tensors, int, float], Load]] = {
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
}
