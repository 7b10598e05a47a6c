"""Recording doubles of TensorRT, pycuda and cuda-python: no GPU, but every call in order, addresses that mean
something, and objects that say when they are gone."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

Shape = tuple[int, ...]

TENSORS = {"image": ("INPUT", (1, 3, 4, 4)), "logits": ("OUTPUT", (1, 2, 4, 4)), "edges": ("OUTPUT", (1, 1, 4, 4))}
LARGEST_BATCH = 4
INVALIDITY = {  # as in TensorRT-RTX 1.7
    "VERSION_MISMATCH": 1,
    "UNSUPPORTED_CC": 2,
    "OLD_CUDA_DRIVER": 4,
    "OLD_CUDA_RUNTIME": 8,
    "INSUFFICIENT_GPU_MEMORY": 16,
    "MALFORMED_ENGINE": 32,
    "CUDA_ERROR": 64,
}
STREAM = 7
IMAGE = np.arange(48, dtype=np.float32).reshape(1, 3, 4, 4)


class Machine:
    """A GPU that writes the sum of its input into its outputs. `calls` records all calls, in order.

    Args:
        memory: number of allocations that the device holds.
        host_memory: number of page-locked allocations.
        dynamic: the engine's batch is 1 to `LARGEST_BATCH`.
        rtx: TensorRT-RTX.
        captures: the driver can capture a graph.
        invalid: bits of TensorRT-RTX's `EngineInvalidityDiagnostics` that it finds in an engine.
    """

    def __init__(
        self,
        loads: bool = True,
        runs: bool = True,
        memory: int = 99,
        host_memory: int = 99,
        dynamic: bool = False,
        rtx: bool = False,
        captures: bool = True,
        invalid: int = 0,
    ) -> None:
        self.loads, self.runs, self.memory, self.host_memory = loads, runs, memory, host_memory
        self.dynamic, self.captures, self.invalid = dynamic, captures, invalid
        self.calls: list[str] = []
        self.allocated: dict[int, Allocation] = {}
        self.page_locked = 0
        self.addresses: dict[str, int] = {}
        self.clock_ms = 0.0
        self.capturing: list[Callable[[], None]] | None = None
        self.trt = _tensorrt(self, rtx)
        self.cuda = _pycuda(self)
        self.driver = _cuda_python(self)

    def count(self, call: str) -> int:
        """The number of times that `call` was made."""
        return self.calls.count(call)

    def compute(self, batch: int) -> None:
        """Run the kernels, at once or when a captured graph is launched."""
        total = self._values("image", batch).sum()
        for name in ("logits", "edges"):
            self._values(name, batch)[:] = total
        self.clock_ms += 2.5

    def _values(self, name: str, batch: int) -> Any:
        size = batch * int(np.prod(TENSORS[name][1]))
        return self.allocated[self.addresses[name]]._data.view(np.float32)[:size]


class Allocation:
    """pycuda's DeviceAllocation."""

    def __init__(self, machine: Machine, nbytes: int) -> None:
        self._machine, self._address = machine, 0x1000 * (len(machine.allocated) + 1)
        self._data = np.zeros(nbytes, np.uint8)
        machine.allocated[self._address] = self

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        """Frees the memory; freeing it twice is an error, as on the device."""
        self._machine.calls.append("free")
        del self._machine.allocated[self._address]


class PageLocked:
    """pycuda's PagelockedHostAllocation, the base of the arrays in it."""

    def __init__(self, machine: Machine, size: int, dtype: Any) -> None:
        self._machine, self._values = machine, np.empty(size, dtype)
        self.__array_interface__ = self._values.__array_interface__

    def free(self) -> None:
        """Frees the memory."""
        self._machine.calls.append("free host")
        self._machine.page_locked -= 1


class ExecutionContext:
    """tensorrt.IExecutionContext."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self._batch = machine, 1
        weakref.finalize(self, machine.calls.append, "context gone")

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        """Accepts shapes that the profile allows."""
        fixed = TENSORS[name][1]
        largest = LARGEST_BATCH if self._machine.dynamic else 1
        if len(shape) != len(fixed) or shape[1:] != fixed[1:] or not 1 <= shape[0] <= largest:
            return False
        self._batch = shape[0]
        return True

    def get_tensor_shape(self, name: str) -> Shape:
        """With the batch that was set."""
        return (self._batch, *TENSORS[name][1][1:])

    def set_tensor_address(self, name: str, address: int) -> bool:
        """Binds a tensor."""
        self._machine.addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Runs: every output element becomes the sum of the input. On a captured stream it is only noted."""
        machine, batch = self._machine, self._batch
        machine.calls.append(f"execute on {stream_handle}")
        if not machine.runs:
            return False
        if machine.capturing is None:
            machine.compute(batch)
        else:
            machine.capturing.append(lambda: machine.compute(batch))
        return True


class Engine:
    """tensorrt.ICudaEngine."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self.num_io_tensors = machine, len(TENSORS)
        weakref.finalize(self, machine.calls.append, "engine gone")

    def get_tensor_name(self, index: int) -> str:
        """Name by index."""
        return list(TENSORS)[index]

    def get_tensor_mode(self, name: str) -> str:
        """Input or output."""
        return TENSORS[name][0]

    def get_tensor_shape(self, name: str) -> Shape:
        """-1 where it is dynamic."""
        shape = TENSORS[name][1]
        return (-1, *shape[1:]) if self._machine.dynamic else shape

    def get_tensor_dtype(self, name: str) -> str:
        """TensorRT's own type."""
        return "FLOAT"

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Shape]:
        """Smallest, best, largest."""
        assert profile_index == 0
        rest = TENSORS[name][1][1:]
        return [(batch, *rest) for batch in ((1, 2, LARGEST_BATCH) if self._machine.dynamic else (1, 1, 1))]

    def create_execution_context(self, runtime_config: Any = None) -> ExecutionContext:
        """A new context."""
        if runtime_config is not None:
            self._machine.calls.append(f"graphs: {runtime_config.cuda_graph_strategy}")
        return ExecutionContext(self._machine)


class RtxEngine(Engine):
    """tensorrt_rtx.ICudaEngine."""

    def create_runtime_config(self) -> SimpleNamespace:
        """An IRuntimeConfig."""
        return SimpleNamespace(cuda_graph_strategy="DISABLED")


class Event:
    """pycuda's Event on the machine's clock."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self._time_ms = machine, float("nan")

    def record(self, stream: Any) -> None:
        """Notes the clock."""
        self._machine.calls.append("record")
        self._time_ms = self._machine.clock_ms

    def synchronize(self) -> None:
        """Waits."""
        self._machine.calls.append("event synchronize")

    def time_till(self, other: Event) -> float:
        """Milliseconds to a later event."""
        return other._time_ms - self._time_ms


def _tensorrt(machine: Machine, rtx: bool) -> Any:
    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.engine_host_code_allowed = False
            machine.calls.append(f"runtime with {logger}")
            weakref.finalize(self, machine.calls.append, "runtime gone")

        def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
            host_code = " with host code" if self.engine_host_code_allowed else ""
            machine.calls.append(f"deserialize {data!r}{host_code}")
            kind = RtxEngine if rtx else Engine
            return kind(machine) if machine.loads else None

    class RtxRuntime(Runtime):
        def get_engine_validity(self, data: bytes) -> tuple[str, int]:
            return "INVALID", machine.invalid

    modes = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")
    trt = SimpleNamespace(
        Runtime=RtxRuntime if rtx else Runtime, TensorIOMode=modes, nptype={"FLOAT": np.float32}.__getitem__
    )
    if rtx:
        trt.CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="WHOLE_GRAPH_CAPTURE")
        trt.EngineInvalidityDiagnostics = SimpleNamespace(__members__=INVALIDITY)
    return trt


def _pycuda(machine: Machine) -> ModuleType:
    calls = machine.calls

    def mem_alloc(nbytes: int) -> Allocation:
        if len(machine.allocated) == machine.memory:
            raise MemoryError("out of device memory")
        calls.append("alloc")
        return Allocation(machine, nbytes)

    def pagelocked_empty(size: int, dtype: Any) -> Any:
        if machine.page_locked == machine.host_memory:
            raise MemoryError("out of page-locked memory")
        machine.page_locked += 1
        return np.asarray(PageLocked(machine, size, dtype))

    def htod(device: Allocation, host: Any, stream: Any) -> None:
        calls.append("copy in")
        device._data[: host.nbytes] = host.reshape(-1).view(np.uint8)

    def dtoh(host: Any, device: Allocation, stream: Any) -> None:
        calls.append("copy out")
        host.reshape(-1).view(np.uint8)[:] = device._data[: host.nbytes]

    gpu = SimpleNamespace(**{call: partial(calls.append, call) for call in ("push", "pop", "detach")})
    stream = SimpleNamespace(handle=STREAM, synchronize=lambda: calls.append("synchronize"))
    driver = ModuleType("pycuda.driver")
    driver.__dict__.update(
        init=lambda: calls.append("init"),
        Device=lambda number: SimpleNamespace(retain_primary_context=lambda: gpu),
        Stream=lambda: stream,
        Event=lambda: Event(machine),
        pagelocked_empty=pagelocked_empty,
        mem_alloc=mem_alloc,
        memcpy_htod_async=htod,
        memcpy_dtoh_async=dtoh,
    )
    return driver


def _cuda_python(machine: Machine) -> ModuleType:
    calls, success, refused = machine.calls, "CUDA_SUCCESS", "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"

    def begin(stream: int, mode: str) -> tuple[str]:
        calls.append(f"capture {stream} {mode}")
        machine.capturing = []
        return (success,)

    def end(stream: int) -> tuple[str, Any]:
        calls.append("captured")
        steps, machine.capturing = machine.capturing, None
        return (success, steps) if machine.captures else (refused, None)

    def launch(executable: list[Callable[[], None]], stream: int) -> tuple[str]:
        calls.append(f"launch on {stream}")
        for step in executable:
            step()
        return (success,)

    def noted(call: str) -> Callable[[Any], tuple[str]]:
        def function(_: Any) -> tuple[str]:
            calls.append(call)
            return (success,)

        return function

    driver = ModuleType("cuda.bindings.driver")
    driver.__dict__.update(
        CUresult=SimpleNamespace(CUDA_SUCCESS=success),
        CUstream=int,
        CUstreamCaptureMode=SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL="thread local"),
        cuStreamBeginCapture=begin,
        cuStreamEndCapture=end,
        cuGraphInstantiate=lambda graph, flags: (success, graph),
        cuGraphLaunch=launch,
        cuGraphDestroy=noted("destroy graph"),
        cuGraphExecDestroy=noted("destroy executable graph"),
    )
    return driver
