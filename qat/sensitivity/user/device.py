"""Device and precision of the analysis: a GPU if available, unless the user's file chooses a device; always float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from core.config.section import Device
from core.console import say
from core.errors import UserError
from qat.device import device_for
from qat.sensitivity.user.batch import map_tensors

HALF = (torch.float16, torch.bfloat16)

T = TypeVar("T")


def place(model: nn.Module, wanted: Device, stays: bool, check: Callable[[], None]) -> None:
    """Move `model`, in place, to the device of the analysis.

    Args:
        stays: "auto" leaves it on its device.
        check: the preflight check of network and loss; with "auto", a network that fails it on a GPU runs on the CPU.

    Raises:
        UserError: of `check`.
    """
    device = device_for(wanted)
    moves = wanted != "auto" or (device.type != "cpu" and not stays)
    if moves:
        model.to(device)
        torch.backends.cudnn.allow_tf32 = False  # the baseline is FP32
        torch.backends.cudnn.deterministic = True
    try:
        check()
    except UserError as error:
        if wanted != "auto" or not moves:
            raise
        say(f"the analysis runs on the CPU: on {device.type}, {error.what} ({error.why})")
        model.to("cpu")
        check()


def to_device(value: T, device: torch.device) -> T:
    """A network or a loss that is a module, moved in place, or the tensors in `value`."""
    if isinstance(value, nn.Module):
        return value.to(device)
    return map_tensors(value, lambda tensor: tensor.to(device))


def half_precision_of(model: nn.Module) -> list[str]:
    """Names of the half-precision types among parameters and buffers."""
    kinds = {value.dtype for value in (*model.parameters(), *model.buffers())} & set(HALF)
    return sorted(str(kind).removeprefix("torch.") for kind in kinds)


def in_float32(value: T) -> T:
    """A network or a loss that is a module, widened in place, or the half-precision tensors in `value` widened."""
    if isinstance(value, nn.Module):
        return value.float() if half_precision_of(value) else value
    return map_tensors(value, _widened)


def _widened(value: Tensor) -> Tensor:
    return value.float() if value.dtype in HALF else value
