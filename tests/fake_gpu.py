"""Fake GPUs: tensors that compute on the CPU, claim to be on another device, and never mix.

    with fake_gpus():
        pipeline.ensure(config)         # `device: auto` finds two GPUs

A forgotten move raises an error as on CUDA. Branches for `is_cuda` run and call the same PyTorch operators as on a GPU,
with the CPU's kernels. Formulas replace nvidia-modelopt's own CUDA kernels. So tests on fake GPUs check the placement
of tensors, not the results of a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial, wraps
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, distributed
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map_only

from qat import device as choice

NAME = "fakegpu"
aten = torch.ops.aten
INFERENCE_MODE = torch.inference_mode
MOVES = (aten.copy_.default, aten._to_copy.default, aten._has_compatible_shallow_copy_type.default)
loads_to_device = False  # True while torch.load has no map_location


class Elsewhere(Tensor):
    """A tensor on a GPU; `value` is its content."""

    value: Tensor
    is_cuda = True  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, value: Tensor, place: torch.device) -> Elsewhere:
        layout = {"strides": value.stride(), "storage_offset": value.storage_offset(), "dtype": value.dtype}
        made: Elsewhere = Tensor._make_wrapper_subclass(cls, value.shape, device=place, **layout)  # type: ignore[attr-defined]
        made.value = value
        return made

    def tolist(self) -> Any:
        """The values as a list; PyTorch cannot make it for subclasses."""
        return self.value.tolist()

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return restored, (self.value.detach(), str(self.device))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


class FakeGpu(TorchDispatchMode):
    """Within the context tensors can be moved to a GPU and made there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The result of `func`, computed on the CPU and moved to the operands' device.

    Raises:
        RuntimeError: operands on two devices; as on CUDA, operators that compute by element take scalars of the CPU.
    """
    tensors = [item for item in tree_flatten((args, kwargs))[0] if isinstance(item, Tensor)]
    by_element = torch.Tag.pointwise in func.tags
    places = {item.device for item in tensors if isinstance(item, Elsewhere) or item.ndim or not by_element}
    if len(places) > 1 and func not in MOVES:
        raise RuntimeError(f"Expected all tensors to be on the same device, but found {places}: {func}")
    target = kwargs.get("device")
    if target is not None:
        place, kwargs = torch.device(target), {**kwargs, "device": "cpu"}
    else:
        first = args[0] if func is aten.copy_.default else next((t for t in tensors if isinstance(t, Elsewhere)), None)
        place = torch.device("cpu") if first is None else first.device
    plain_args, plain_kwargs = tree_map_only(Elsewhere, lambda item: item.value, (args, kwargs))
    result = func(*plain_args, **plain_kwargs)
    written = [kwargs.get(item.name) for item in func._schema.arguments if item.is_out]
    if written:
        return written[0] if len(written) == 1 else tuple(written)
    if func._schema.name.endswith("_"):
        return args[0] if func._schema.returns else None
    if place.type == "cpu":
        return result
    there = torch.device(place.type, place.index or 0)
    return tree_map_only(Tensor, lambda item: Elsewhere(item, there), result)


def restored(value: Tensor, place: str) -> Tensor:
    """A tensor from a file, on its original device unless `torch.load` got a `map_location`."""
    if not loads_to_device:
        return value
    if not torch.utils._python_dispatch._get_current_dispatch_mode_stack():
        raise RuntimeError(f"Attempting to deserialize object on {place}, which this machine has not")
    return Elsewhere(value, torch.device(place))


def can_emulate() -> bool:
    """Return True if this PyTorch accepts backends written in Python."""
    return hasattr(backend_registration, "_setup_privateuseone_for_python_backend")


@cache
def register() -> None:
    """Register the device with PyTorch, once per process and before its first backward pass, which counts devices."""

    if not can_emulate():
        pytest.skip("this PyTorch has no backends written in Python")

    class Backend(backend_registration._DummyBackendModule):  # type: ignore[misc]
        def device_count(self) -> int:
            return 2

        def get_amp_supported_dtype(self) -> list[torch.dtype]:
            return [torch.bfloat16]

    backend_registration._setup_privateuseone_for_python_backend(NAME, Backend())
    library = torch.library.Library("aten", "IMPL")  # torch.tensor(…, device=…) calls it behind the dispatch mode
    for name in ("empty_strided", "copy_"):
        operator = getattr(aten, name).default
        library.impl(name, partial(_behind, operator), "PrivateUse1")
    register.library = library  # type: ignore[attr-defined]  # it ends with its object
    torch.serialization.add_safe_globals([restored])
    torch.load = _load(torch.load)  # permanent: files outlive the GPU


def _behind(func: Any, *args: Any, **kwargs: Any) -> Any:
    return computed(func, args, kwargs)


def _outside(export: Callable[..., Any]) -> Callable[..., Any]:
    """Give the exporter CPU tensors only: it uses its own modes, which exclude other modes."""

    def exported(model: torch.nn.Module, inputs: tuple[Tensor, ...], **options: Any) -> Any:
        for tensor in (*inputs, *model.parameters(), *model.buffers()):
            if isinstance(tensor, Elsewhere):
                raise RuntimeError(f"torch.onnx.export: a tensor is on {tensor.device}")
        with _disable_current_modes(), mock.patch.object(torch, "inference_mode", INFERENCE_MODE):
            return export(model, inputs, **options)

    return exported


@contextmanager
def fake_gpus(count: int = 2) -> Iterator[list[torch.device]]:
    """Within the context PyTorch has exactly `count` GPUs, which are returned."""
    register()
    found = [torch.device(NAME, index) for index in range(count)]
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(choice, "cuda_devices", lambda: found))
        stack.enter_context(mock.patch.object(torch.cuda, "current_device", lambda: 0))
        stack.enter_context(mock.patch.object(torch.onnx, "export", _outside(torch.onnx.export)))
        # in inference mode PyTorch cannot detach subclasses; without a graph it computes the same
        stack.enter_context(mock.patch.object(torch, "inference_mode", torch.no_grad))
        stack.enter_context(_modelopt_kernels())
        stack.enter_context(FakeGpu())
        yield found


def _load(load: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(load)
    def loaded(*args: Any, map_location: Any = None, **kwargs: Any) -> Any:
        global loads_to_device
        loads_to_device = map_location is None
        try:
            return load(*args, map_location=map_location, **kwargs)
        finally:
            loads_to_device = False

    return loaded


class ModeloptKernels:
    """A replacement of `modelopt_cuda_ext`: both functions that fake-quantize, on the CPU."""

    @staticmethod
    def fake_tensor_quant(x: Tensor, amax: Tensor, bits: int, unsigned: bool, narrow: bool) -> Tensor:
        largest = 2.0 ** (bits - 1 + unsigned) - 1
        scale = largest / amax.float()
        smallest = 0 if unsigned else -largest - (not narrow)
        return ((x.float() * scale).round().clamp(smallest, largest) / scale).to(x.dtype)

    @classmethod
    def fake_tensor_quant_with_axis(
        cls, x: Tensor, amax: Tensor, axis: int, bits: int, unsigned: bool, narrow: bool
    ) -> Tensor:
        shape = [1] * x.ndim
        shape[axis] = -1
        return cls.fake_tensor_quant(x, amax.reshape(shape), bits, unsigned, narrow)


@contextmanager
def _modelopt_kernels() -> Iterator[None]:
    """Let an installed nvidia-modelopt find this CUDA extension; on a machine with a GPU it compiles the real one."""
    try:
        from modelopt.torch.quantization.extensions import get_cuda_ext
    except ImportError:
        yield
        return
    with mock.patch.object(get_cuda_ext, "extension", ModeloptKernels, create=True):
        yield


@contextmanager
def twin_processes() -> Iterator[None]:
    """Within the context, train with a second process that does the same; as with NCCL, tensors must be on a GPU."""

    def on_gpu(value: Tensor) -> None:
        if not isinstance(value, Elsewhere):
            raise RuntimeError("No backend type associated with device type cpu")

    def all_reduce(value: Tensor, op: Any = distributed.ReduceOp.SUM) -> None:
        on_gpu(value)
        if op == distributed.ReduceOp.SUM:
            value.mul_(2)

    def broadcast(value: Tensor, src: int) -> None:
        on_gpu(value)

    def all_gather_object(into: list[Any], value: Any) -> None:
        into[:] = [value, value]

    doubles = {
        "is_initialized": lambda: True,
        "get_world_size": lambda: 2,
        "get_rank": lambda: 0,
        "all_reduce": all_reduce,
        "broadcast": broadcast,
        "all_gather_object": all_gather_object,
    }
    with mock.patch.multiple(distributed, **doubles):
        yield
