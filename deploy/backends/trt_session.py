"""Run a TensorRT engine with pycuda.

Never run during development, which had no GPU: written against the documented APIs of TensorRT 8.6 to 11 and RTX
(`set_tensor_address`, `execute_async_v3`) and of pycuda (page-locked host memory, streams, events).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import UnsupportedEnvironment
from deploy.backends.base import Tensors


@dataclass(frozen=True)
class _Buffer:
    host: NDArray[Any]  # page-locked
    device: Any  # pycuda DeviceAllocation


@contextmanager
def trt_session(trt: Any, logger: Any, engine_bytes: bytes) -> Iterator[TRTSession]:
    """Deserialize an engine on the first GPU; context, memory and stream are released in reverse order at the end.

    Raises:
        UnsupportedEnvironment: the engine was built for another GPU, driver or TensorRT.
    """
    import pycuda.driver as cuda

    cuda.init()
    with ExitStack() as stack:
        gpu = cuda.Device(0).retain_primary_context()
        gpu.push()
        stack.callback(gpu.pop)
        engine = trt.Runtime(logger).deserialize_cuda_engine(engine_bytes)
        if engine is None:
            raise UnsupportedEnvironment("TensorRT cannot load the engine on this GPU", fix="run `make engine` here")
        stream = cuda.Stream()
        context = engine.create_execution_context()
        buffers = {}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            host = cuda.pagelocked_empty(
                tuple(engine.get_tensor_shape(name)), trt.nptype(engine.get_tensor_dtype(name))
            )
            device = cuda.mem_alloc(host.nbytes)
            stack.callback(device.free)
            context.set_tensor_address(name, int(device))
            buffers[name] = _Buffer(host, device)
        modes = {name: engine.get_tensor_mode(name) for name in buffers}
        inputs = tuple(name for name, mode in modes.items() if mode == trt.TensorIOMode.INPUT)
        yield TRTSession(cuda, context, stream, buffers, inputs)
        stream.synchronize()


class TRTSession:
    """One execution context with its buffers on the device."""

    def __init__(
        self, cuda: Any, context: Any, stream: Any, buffers: dict[str, _Buffer], inputs: tuple[str, ...]
    ) -> None:
        self._cuda, self._context, self._stream, self._buffers = cuda, context, stream, buffers
        self.input_names = inputs
        self.output_names = tuple(name for name in buffers if name not in inputs)

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Copy in, run once, copy out."""
        self._upload(feeds)
        self._enqueue()
        for name in self.output_names:
            buffer = self._buffers[name]
            self._cuda.memcpy_dtoh_async(buffer.host, buffer.device, self._stream)
        self._stream.synchronize()
        return {name: self._buffers[name].host.copy() for name in self.output_names}

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

    def _upload(self, feeds: Tensors) -> None:
        for name, value in feeds.items():
            buffer = self._buffers[name]
            buffer.host[...] = value
            self._cuda.memcpy_htod_async(buffer.device, buffer.host, self._stream)

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream.handle):
            raise UnsupportedEnvironment("TensorRT could not run the engine", why="see the log above")
