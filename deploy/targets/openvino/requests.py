"""Several OpenVINO requests under way: the THROUGHPUT hint ("High-level Performance Hints", OpenVINO documentation)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from deploy.bundle.pixels import Feeder
from deploy.bundle.types import Bundle
from deploy.targets.base import Requests, Tensors, Wait
from deploy.targets.openvino.engine import MODEL, compile_model


@contextmanager
def open_requests(bundle: Bundle, threads: int) -> Iterator[Requests]:
    """As many requests as the plugin finds best; a request is filled only after its last result was taken."""
    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": threads}
    compiled = compile_model(bundle.dir / MODEL, {**bundle.manifest["properties"], **hints})
    capacity = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
    free = [compiled.create_infer_request() for _ in range(capacity)]
    feeder = Feeder(bundle.manifest)
    inputs = tuple(port.get_any_name() for port in compiled.inputs)
    outputs = tuple(port.get_any_name() for port in compiled.outputs)

    def submit(feeds: Tensors) -> Wait:
        request = free.pop()
        for name, value in feeds.items():
            feeder.put(value, request.get_tensor(name).data)
        request.start_async()

        def wait() -> Tensors:
            request.wait()
            results = {name: request.get_tensor(name).data.copy() for name in outputs}
            free.append(request)
            return results

        return wait

    yield Requests(capacity, submit, inputs, outputs)
