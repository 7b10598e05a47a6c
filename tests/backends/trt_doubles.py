"""Recording doubles of TensorRT and pycuda: no GPU, but every call in order, and addresses that mean something."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

# Which of the vendor's names the doubles stand for; `test_trt_session` holds them against the real classes.
TRT_SURFACE = {
    "Runtime": ("deserialize_cuda_engine",),
    "ICudaEngine": (
        "num_io_tensors",
        "get_tensor_name",
        "get_tensor_shape",
        "get_tensor_dtype",
        "get_tensor_mode",
        "create_execution_context",
    ),
    "IExecutionContext": ("set_tensor_address", "execute_async_v3"),
    "TensorIOMode": ("INPUT", "OUTPUT"),
}
TRT_FUNCTIONS = ("nptype",)

TENSORS = {"image": ("INPUT", (1, 3, 4, 4)), "logits": ("OUTPUT", (1, 2, 4, 4)), "edges": ("OUTPUT", (1, 1, 4, 4))}


class Machine:
    """A GPU that copies its first input's sum into its outputs. `calls` is what was asked of it, in order."""

    def __init__(self, loads: bool = True, runs: bool = True, memory: int = 99) -> None:
        self.loads, self.runs, self.memory = loads, runs, memory
        self.calls: list[str] = []
        self.allocated: dict[int, Allocation] = {}
        self.addresses: dict[str, int] = {}
        self.clock_ms = 0.0
        self.trt = _tensorrt(self)
        self.cuda = _pycuda(self)

    def count(self, call: str) -> int:
        """How often `call` was made."""
        return self.calls.count(call)


class Allocation:
    """pycuda's DeviceAllocation."""

    def __init__(self, machine: Machine, nbytes: int) -> None:
        self.machine, self.address = machine, 0x1000 * (len(machine.allocated) + 1)
        self.data = np.zeros(nbytes, np.uint8)
        machine.allocated[self.address] = self

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        """Gives the memory back; twice is an error, as on the device."""
        self.machine.calls.append("free")
        del self.machine.allocated[self.address]


class ExecutionContext:
    """tensorrt.IExecutionContext."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def set_tensor_address(self, name: str, address: int) -> bool:
        """Binds a tensor."""
        self.machine.addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Runs: every output element becomes the sum of the input."""
        machine = self.machine
        machine.calls.append(f"execute on {stream_handle}")
        if not machine.runs:
            return False
        total = machine.allocated[machine.addresses["image"]].data.view(np.float32).sum()
        for name in ("logits", "edges"):
            machine.allocated[machine.addresses[name]].data.view(np.float32)[:] = total
        machine.clock_ms += 2.5
        return True


class Engine:
    """tensorrt.ICudaEngine."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.num_io_tensors = machine, len(TENSORS)

    def get_tensor_name(self, index: int) -> str:
        """Name by index."""
        return list(TENSORS)[index]

    def get_tensor_mode(self, name: str) -> str:
        """Input or output."""
        return TENSORS[name][0]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """Static shape."""
        return TENSORS[name][1]

    def get_tensor_dtype(self, name: str) -> str:
        """TensorRT's own type."""
        return "FLOAT"

    def create_execution_context(self) -> ExecutionContext:
        """A context of its own."""
        return ExecutionContext(self.machine)


class Event:
    """pycuda's Event on the machine's clock."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.time_ms = machine, float("nan")

    def record(self, stream: Any) -> None:
        """Notes the clock."""
        self.machine.calls.append("record")
        self.time_ms = self.machine.clock_ms

    def synchronize(self) -> None:
        """Waits."""
        self.machine.calls.append("event synchronize")

    def time_till(self, other: Event) -> float:
        """Milliseconds to a later event."""
        return other.time_ms - self.time_ms


def _tensorrt(machine: Machine) -> Any:
    class Runtime:
        def __init__(self, logger: Any) -> None:
            machine.calls.append(f"runtime with {logger}")

        def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
            machine.calls.append(f"deserialize {data!r}")
            return Engine(machine) if machine.loads else None

    modes = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")
    return SimpleNamespace(Runtime=Runtime, TensorIOMode=modes, nptype={"FLOAT": np.float32}.__getitem__)


def _pycuda(machine: Machine) -> ModuleType:
    calls = machine.calls

    def mem_alloc(nbytes: int) -> Allocation:
        if len(machine.allocated) == machine.memory:
            raise MemoryError("out of device memory")
        calls.append("alloc")
        return Allocation(machine, nbytes)

    def htod(device: Allocation, host: Any, stream: Any) -> None:
        calls.append("copy in")
        device.data[:] = host.reshape(-1).view(np.uint8)

    def dtoh(host: Any, device: Allocation, stream: Any) -> None:
        calls.append("copy out")
        host.reshape(-1).view(np.uint8)[:] = device.data

    gpu = SimpleNamespace(push=lambda: calls.append("push"), pop=lambda: calls.append("pop"))
    stream = SimpleNamespace(handle=7, synchronize=lambda: calls.append("synchronize"))
    driver = ModuleType("pycuda.driver")
    driver.__dict__.update(
        init=lambda: calls.append("init"),
        Device=lambda number: SimpleNamespace(retain_primary_context=lambda: gpu),
        Stream=lambda: stream,
        Event=lambda: Event(machine),
        pagelocked_empty=np.empty,
        mem_alloc=mem_alloc,
        memcpy_htod_async=htod,
        memcpy_dtoh_async=dtoh,
    )
    return driver
