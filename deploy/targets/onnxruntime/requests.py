"""Several ONNX Runtime inferences under way: one session of one thread, called from several; `run` is thread-safe."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from deploy.bundle.pixels import Feeder
from deploy.bundle.types import Bundle
from deploy.targets.base import Requests, Tensors, Wait
from deploy.targets.onnxruntime.engine import MODEL, open_session


@contextmanager
def open_requests(bundle: Bundle, threads: int) -> Iterator[Requests]:
    """`threads` requests, each on a thread of its own."""
    session = open_session(bundle.dir / MODEL, threads=1)
    feeder = Feeder(bundle.manifest)
    inputs = tuple(value.name for value in session.get_inputs())
    outputs = tuple(value.name for value in session.get_outputs())
    with ThreadPoolExecutor(threads) as pool:

        def submit(feeds: Tensors) -> Wait:
            given = feeder.ready(feeds)
            future = pool.submit(session.run, list(outputs), given)
            return lambda: dict(zip(outputs, future.result(), strict=True))

        yield Requests(threads, submit, inputs, outputs)
