"""Records the work that a step enqueues on a CUDA stream, and launches it as a whole.

pycuda has no graphs; cuda-python's bindings of the same driver take pycuda's stream by its handle. Never run during
development, which had no GPU. Source: CUDA Driver API, "Stream Management" (`cuStreamBeginCapture`) and "Graph
Management".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from core.errors import UnsupportedEnvironment


class CudaGraph:
    """Recorded work of `enqueue` on a stream; the memory it uses must keep its addresses."""

    def __init__(self, stream_handle: int, enqueue: Callable[[], None]) -> None:
        """Capture `enqueue`. A context must be current, and nothing else may use the stream.

        Raises:
            UnsupportedEnvironment: cuda-python is missing, or the enqueued work cannot be captured.
        """
        self._driver = driver = _driver()
        self._stream = driver.CUstream(stream_handle)
        # The builder, or another session, may be at work in other threads.
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call(driver.cuStreamBeginCapture(self._stream, mode))
        try:
            enqueue()
        except BaseException:
            driver.cuStreamEndCapture(self._stream)  # ending the capture fails, too, and would hide the first error
            raise
        (graph,) = self._call(driver.cuStreamEndCapture(self._stream))
        try:
            (self._executable,) = self._call(driver.cuGraphInstantiate(graph, 0))
        finally:
            driver.cuGraphDestroy(graph)

    def launch(self) -> None:
        """Enqueue everything that was recorded."""
        self._call(self._driver.cuGraphLaunch(self._executable, self._stream))

    def close(self) -> None:
        """Free the graph; it must not be running."""
        self._call(self._driver.cuGraphExecDestroy(self._executable))

    def _call(self, result: tuple[Any, ...]) -> tuple[Any, ...]:
        status, *values = result
        if status != self._driver.CUresult.CUDA_SUCCESS:
            raise UnsupportedEnvironment(
                "the inference cannot be run as a CUDA graph",
                why=f"the CUDA driver says {status}",
                fix="set deploy.tensorrt.cuda_graph to false",
            )
        return tuple(values)


def _driver() -> Any:
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise UnsupportedEnvironment(
            "TensorRT runs a CUDA graph only with cuda-python",
            why=str(error),
            fix="pip install cuda-bindings of your driver's CUDA, or set deploy.tensorrt.cuda_graph to false",
        ) from error
    return driver
