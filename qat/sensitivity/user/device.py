"""Where the analysis runs: on a GPU if there is one, unless the user's file says where."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from core.console import say
from core.errors import UnsupportedEnvironment, UserError
from qat.sensitivity.config import Device
from qat.sensitivity.user.batch import map_tensors

T = TypeVar("T")


def gpu() -> torch.device | None:
    """This process's CUDA device; None where there is none."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else None


def device_for(wanted: Device) -> torch.device:
    """What the key `device` means on this machine.

    Raises:
        UnsupportedEnvironment: "cuda" on a machine without.
    """
    found = None if wanted == "cpu" else gpu()
    if wanted == "cuda" and found is None:
        raise UnsupportedEnvironment(
            "device: cuda", why="PyTorch finds no CUDA device", fix="set device to auto or cpu"
        )
    return found or torch.device("cpu")


def place(model: nn.Module, wanted: Device, stays: bool, rehearse: Callable[[], None]) -> None:
    """Move `model`, in place, to the device that it is analysed on.

    Args:
        stays: whether "auto" leaves it where it is.
        rehearse: tries the network and the loss where they are; with "auto", what fails on a GPU runs on the CPU.

    Raises:
        UserError: what `rehearse` raises.
    """
    device = device_for(wanted)
    moves = wanted != "auto" or (device.type != "cpu" and not stays)
    if moves:
        model.to(device)
        torch.backends.cudnn.allow_tf32 = False  # the baseline is FP32
        torch.backends.cudnn.deterministic = True
    try:
        rehearse()
    except UserError as error:
        if wanted != "auto" or not moves:
            raise
        say(f"it runs on the CPU, since on {device.type} {error.what} ({error.why})")
        model.to("cpu")
        rehearse()


def to_device(value: T, device: torch.device) -> T:
    """A network or a loss that is a module, moved in place, or the tensors in `value`."""
    if isinstance(value, nn.Module):
        return value.to(device)
    return map_tensors(value, lambda tensor: tensor.to(device))
