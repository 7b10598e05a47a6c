"""Run a TensorRT engine with pycuda.

Never run during development, which had no GPU: written against the documented APIs of TensorRT 8.6 to 11 and RTX
(`set_input_shape`, `set_tensor_address`, `execute_async_v3`) and of pycuda (page-locked host memory, streams, events).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import UnsupportedEnvironment, UserError
from deploy.targets.base import Tensors
from deploy.targets.tensorrt.cuda_graph import CudaGraph
from deploy.targets.tensorrt.refusal import refusal

Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Buffer:
    """Memory for a tensor at its largest."""

    host: NDArray[Any]  # page-locked, one dimension
    device: Any  # pycuda DeviceAllocation

    def view(self, shape: Shape) -> NDArray[Any]:
        """The beginning of `host` as a tensor."""
        return self.host[: math.prod(shape)].reshape(shape)


@contextmanager
def trt_session(
    trt: Any,
    logger: Any,
    engine_bytes: bytes,
    *,
    cuda_graph: bool = False,
    host_code: bool = False,
    ready: Callable[[Tensors], Tensors] = dict,
) -> Iterator[TRTSession]:
    """Deserialize an engine on the first GPU; whatever happens, all is given back in reverse order.

    Args:
        trt: `tensorrt` or `tensorrt_rtx`.
        cuda_graph: launch inferences as one CUDA graph.
        host_code: let the engine bring host code of its own, which a version-compatible one does.
        ready: brings what is fed into the form of the engine's inputs.

    Raises:
        UnsupportedEnvironment: the engine was built for another GPU, driver or TensorRT, or there is no CUDA graph.
    """
    import pycuda.driver as cuda

    cuda.init()
    with ExitStack() as stack:
        gpu = cuda.Device(0).retain_primary_context()
        stack.callback(gpu.detach)
        gpu.push()
        stack.callback(gpu.pop)
        session = TRTSession(trt, cuda, ready)
        stack.callback(session.close)
        session.load(logger, engine_bytes, cuda_graph, host_code)
        yield session


class TRTSession:
    """One execution context with its buffers on the device."""

    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()

    def __init__(self, trt: Any, cuda: Any, ready: Callable[[Tensors], Tensors] = dict) -> None:
        """A session without an engine; `load` fills it."""
        self._trt, self._cuda, self._ready = trt, cuda, ready
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._stream: Any = None
        self._buffers: dict[str, _Buffer] = {}
        self._shapes: dict[str, Shape] = {}
        self._graph: CudaGraph | None = None
        self._captures = False
        self._stack = ExitStack()
        self._stack.callback(self._release_engine)

    def load(self, logger: Any, engine_bytes: bytes, cuda_graph: bool, host_code: bool) -> None:
        """Make the execution context and memory for the largest shapes; after an error `close` frees what there is."""
        self._runtime = self._trt.Runtime(logger)
        if host_code:
            self._runtime.engine_host_code_allowed = True
        self._engine = self._runtime.deserialize_cuda_engine(engine_bytes)
        if self._engine is None:
            raise refusal(self._trt, self._runtime, engine_bytes)
        self._stream = self._cuda.Stream()
        self._context = self._make_context(cuda_graph)
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT]
        self.input_names = tuple(inputs)
        self.output_names = tuple(name for name in names if name not in inputs)
        for name in inputs:
            if -1 in tuple(self._engine.get_tensor_shape(name)):
                self._reshape(name, self._limits(name)[1])
        for name in names:
            self._reserve(name)
        self._stack.callback(self._stream.synchronize)
        self._stack.callback(self._drop_graph)

    def close(self) -> None:
        """Wait for the GPU, then give back graph, memory, execution context, engine and runtime; once is enough."""
        self._stack.close()

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Copy in, run once, copy out.

        Raises:
            UserError: the engine does not take inputs of these shapes.
        """
        self._upload(feeds)
        self._enqueue()
        results = {name: self._buffers[name].view(self._shapes[name]) for name in self.output_names}
        for name, value in results.items():
            self._cuda.memcpy_dtoh_async(value, self._buffers[name].device, self._stream)
        self._stream.synchronize()
        return {name: value.copy() for name, value in results.items()}

    def time_ms(self, feeds: Tensors, runs: int) -> NDArray[np.float64]:
        """GPU time of each of `runs` inferences between two events; transfers are not counted."""
        self._upload(feeds)
        samples = np.empty(runs)
        start, end = self._cuda.Event(), self._cuda.Event()
        for index in range(runs):
            start.record(self._stream)
            self._enqueue()
            end.record(self._stream)
            end.synchronize()
            samples[index] = start.time_till(end)
        return samples

    def _make_context(self, cuda_graph: bool) -> Any:
        """TensorRT-RTX captures graphs itself: its kernels for a shape are ready only some runs later."""
        if not cuda_graph or not hasattr(self._trt, "CudaGraphStrategy"):
            self._captures = cuda_graph
            return self._engine.create_execution_context()
        config = self._engine.create_runtime_config()
        config.cuda_graph_strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        return self._engine.create_execution_context(config)

    def _limits(self, name: str) -> tuple[Shape, Shape]:
        """Smallest and largest shape of an input in the first profile, the only one that is built."""
        smallest, _, largest = self._engine.get_tensor_profile_shape(name, 0)
        return tuple(smallest), tuple(largest)

    def _reserve(self, name: str) -> None:
        self._shapes[name] = tuple(self._context.get_tensor_shape(name))
        dtype = self._trt.nptype(self._engine.get_tensor_dtype(name))
        host = self._cuda.pagelocked_empty(math.prod(self._shapes[name]), dtype)
        self._stack.callback(host.base.free)
        device = self._cuda.mem_alloc(host.nbytes)
        self._stack.callback(device.free)
        self._context.set_tensor_address(name, int(device))
        self._buffers[name] = _Buffer(host, device)

    def _upload(self, given: Tensors) -> None:
        feeds = self._ready(given)
        for name, value in feeds.items():
            if value.shape != self._shapes[name]:
                self._reshape(name, value.shape)
        for name, value in feeds.items():
            host = self._buffers[name].view(value.shape)
            host[...] = value
            self._cuda.memcpy_htod_async(self._buffers[name].device, host, self._stream)
        if self._captures and self._graph is None:
            self._execute()  # what TensorRT sets up for new shapes would become part of the graph
            self._graph = CudaGraph(self._stream.handle, self._execute)

    def _reshape(self, name: str, shape: Shape) -> None:
        self._drop_graph()
        if not self._context.set_input_shape(name, shape):
            smallest, largest = self._limits(name)
            raise UserError(
                f"the engine does not take {name} of shape {shape}",
                why=f"it was built for {smallest} to {largest}",
                fix="change deploy.tensorrt.batch, or what is fed",
            )
        self._shapes[name] = shape
        for output in self.output_names:
            self._shapes[output] = tuple(self._context.get_tensor_shape(output))

    def _enqueue(self) -> None:
        if self._graph is None:
            self._execute()
        else:
            self._graph.launch()

    def _execute(self) -> None:
        if not self._context.execute_async_v3(self._stream.handle):
            raise UnsupportedEnvironment("TensorRT could not run the engine", why="see the log above")

    def _drop_graph(self) -> None:
        graph, self._graph = self._graph, None
        if graph is not None:
            self._stream.synchronize()
            graph.close()

    def _release_engine(self) -> None:
        """TensorRT's objects are freed when the last reference goes, and each needs the next."""
        self._buffers.clear()
        self._context = None
        self._engine = None
        self._runtime = None
        self._stream = None
