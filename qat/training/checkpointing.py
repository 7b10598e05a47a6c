"""The state from which an interrupted training goes on as if nothing had happened."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from core.artifacts import write_atomic
from core.console import say
from core.errors import UserError

# What torch.load raises for files that are empty, cut off, damaged or something else.
UNREADABLE = (pickle.UnpicklingError, struct.error, RuntimeError, EOFError, ValueError, LookupError, TypeError)


def reason_of(error: Exception) -> str:
    """First line of an error of `UNREADABLE`; of PyTorch's advice to load pickled code nothing is repeated."""
    if isinstance(error, pickle.UnpicklingError):
        return "it is damaged, or holds Python objects and not tensors alone"
    return (str(error) or "it ends too early").splitlines()[0]


def load_file(path: Path, what: str, fix: str) -> Any:
    """What `torch.load` finds in a file of tensors, on the CPU.

    Args:
        what: the file in words; `fix`: where one comes from.

    Raises:
        UserError: there is no such file, or it is damaged or something else.
    """
    if not path.is_file():
        raise UserError(f"no {what} {path}", fix=fix)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read as a PyTorch checkpoint", why=reason_of(error), fix=fix) from error


class Stateful(Protocol):
    """Anything with a state of tensors, numbers, strings and containers of these."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


def save_checkpoint(path: Path, key: str, step: int, parts: dict[str, Stateful]) -> None:
    """Write the state of `parts` after `step` completed steps; `key` names the plan it belongs to."""
    state = {name: part.state_dict() for name, part in parts.items()}
    with write_atomic(path) as temporary:
        torch.save({"key": key, "step": step, "state": state}, temporary)


def load_checkpoint(path: Path, key: str, parts: dict[str, Stateful]) -> int:
    """Restore `parts`, each where its tensors are; return the completed steps, 0 without a checkpoint of this plan."""
    if not path.exists():
        return 0
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        say(f"{path} cannot be read ({reason_of(error)}); training starts over")
        return 0
    if content["key"] != key:
        say(f"{path} belongs to a training with other settings; training starts over")
        return 0
    for name, part in parts.items():
        part.load_state_dict(content["state"][name])
    return int(content["step"])


def save_weights(path: Path, model: nn.Module) -> None:
    """Write the model's state dict, on the CPU, atomically."""
    state = {
        name: value.detach().cpu() if isinstance(value, torch.Tensor) else value
        for name, value in model.state_dict().items()
    }
    with write_atomic(path) as temporary:
        torch.save(state, temporary)
