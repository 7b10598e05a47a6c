"""The device of a run, chosen only here, from the key `device` of its config."""

from __future__ import annotations

import os

import torch
from accelerate import PartialState

from core.config.section import Device
from core.errors import UnsupportedEnvironment, UserError


def cuda_devices() -> list[torch.device]:
    """The CUDA devices that PyTorch finds."""
    return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]


def device_for(wanted: Device = "auto") -> torch.device:
    """The device that this process computes on.

    Processes that torchrun or `accelerate launch` start on one machine take one CUDA device each, by their local rank.

    Args:
        wanted: `cpu`; `cuda`; `cuda:n`, a device by its number; `auto`, CUDA where it is available.

    Raises:
        UnsupportedEnvironment: the CUDA device does not exist.
        UserError: several processes would share `cuda:n`.
    """
    found = [] if wanted == "cpu" else cuda_devices()
    if wanted == "cpu" or (wanted == "auto" and not found):
        return torch.device("cpu")
    number = wanted.partition(":")[2]
    if number and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            f"device: {wanted}", why="each of several processes needs a CUDA device of its own", fix="set device: cuda"
        )
    index = int(number or os.environ.get("LOCAL_RANK", "0"))
    if index >= len(found):
        raise UnsupportedEnvironment(
            f"device: {wanted}",
            why=f"this process needs CUDA device {index}, counted from 0, and PyTorch finds {len(found)} of them",
            fix="start fewer processes, or set device: cpu" if index and not number else "set device: auto or cpu",
        )
    return found[index]


def process_on(device: torch.device) -> PartialState:
    """The state of this process among all launched ones. The first call connects them, by NCCL on CUDA, else by
    Gloo."""
    return PartialState(cpu=device.type != "cuda")
