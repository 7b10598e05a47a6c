"""Networks and images of half precision in float32, which is what INT8 is measured against and engines fall back to."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from qat.sensitivity.user.batch import map_tensors

HALF = (torch.float16, torch.bfloat16)

T = TypeVar("T")


def half_precision_of(model: nn.Module) -> list[str]:
    """The types of half precision among parameters and buffers, by name."""
    kinds = {value.dtype for value in (*model.parameters(), *model.buffers())} & set(HALF)
    return sorted(str(kind).removeprefix("torch.") for kind in kinds)


def in_float32(model: T) -> T:
    """`model`, a network or a loss, with its parameters and buffers of half precision in float32, in place."""
    if isinstance(model, nn.Module) and half_precision_of(model):
        model.float()
    return model


def batch_in_float32(batch: Any) -> Any:
    """`batch` with its tensors of half precision in float32."""
    return map_tensors(batch, _widened)


def _widened(value: Tensor) -> Tensor:
    return value.float() if value.dtype in HALF else value
