"""Communication between training processes; with one process, these functions do nothing.

Gradients are averaged by one all-reduce after the backward pass rather than by `DistributedDataParallel`, which fixes
the set of trained parameters when it wraps the model: quantization-aware training adds scales to that set on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn


def world_size() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if _several() else 1


def rank() -> int:
    """Index of this process among `world_size()`."""
    return distributed.get_rank() if _several() else 0


def gathered(value: Any) -> list[Any]:
    """A list of `value` from every process, in the order of ranks."""
    if not _several():
        return [value]
    values: list[Any] = [None] * world_size()
    distributed.all_gather_object(values, value)
    return values


def global_sum(value: Tensor) -> Tensor:
    """Sum of `value` over processes, without gradient."""
    if not _several():
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total


def average_gradients(model: nn.Module) -> None:
    """Replace every gradient by its mean over processes; each process must have gradients for the same parameters."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    if not _several():
        return
    for group in _by_dtype(gradients):
        flat = torch.cat([gradient.reshape(-1) for gradient in group])
        distributed.all_reduce(flat)
        _scatter(flat / world_size(), group)


def broadcast_weights(model: nn.Module) -> None:
    """Copy parameters and buffers from the first process to all others."""
    _broadcast([*model.parameters(), *model.buffers()])


def broadcast_statistics(model: nn.Module) -> None:
    """Copy state without gradients, such as running means and observed ranges, from the first process to all others."""
    _broadcast([*(p for p in model.parameters() if not p.requires_grad), *model.buffers()])


@contextmanager
def synchronised_batch_norm(model: nn.Module) -> Iterator[None]:
    """Within the context, compute batch-norm statistics over the global batch.

    PyTorch has such layers for GPUs only: on a CPU, and with one process, the model does not change. The layers are
    swapped in place and back; both share parameters and buffers, so nothing is copied.
    """
    if not _several() or next(model.parameters()).device.type != "cuda":
        yield
        return
    with swapped_batch_norm(model):
        yield


@contextmanager
def swapped_batch_norm(model: nn.Module) -> Iterator[None]:
    """Within the context, replace every batch norm of `model` by a `SyncBatchNorm` on the same parameters."""
    originals = {
        name: module
        for name, module in model.named_modules()
        if name and isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
    }
    for name, module in originals.items():
        model.set_submodule(name, nn.SyncBatchNorm.convert_sync_batchnorm(module))
    try:
        yield
    finally:
        for name, module in originals.items():
            module.train(model.get_submodule(name).training)
            model.set_submodule(name, module)


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _by_dtype(tensors: Iterable[Tensor]) -> Iterable[list[Tensor]]:
    groups: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor)
    return groups.values()


def _broadcast(tensors: Sequence[Tensor]) -> None:
    if not _several():
        return
    for group in _by_dtype([tensor.detach() for tensor in tensors]):
        flat = torch.cat([tensor.reshape(-1) for tensor in group])
        distributed.broadcast(flat, src=0)
        _scatter(flat, group)


def _scatter(flat: Tensor, into: Sequence[Tensor]) -> None:
    for piece, tensor in zip(flat.split([tensor.numel() for tensor in into]), into, strict=True):
        tensor.copy_(piece.view_as(tensor))
