"""Files of tensors: read without running what may be in them, and written atomically."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import torch
from torch import nn

from core.errors import UserError
from core.files.artifacts import write_atomic
from core.nearest import path_hint

# Errors that torch.load raises for files that are empty, cut off, damaged or something else.
UNREADABLE = (pickle.UnpicklingError, struct.error, RuntimeError, EOFError, ValueError, LookupError, TypeError)


def reason_of(error: Exception) -> str:
    """First line of an error of `UNREADABLE`; of PyTorch's advice to load pickled code nothing is repeated."""
    if isinstance(error, pickle.UnpicklingError):
        return "it is damaged, or holds Python objects and not tensors alone"
    return (str(error) or "it ends too early").splitlines()[0]


def load_file(path: Path, what: str, fix: str) -> Any:
    """The content of a file of tensors, on the CPU.

    Args:
        what: the file in words; `fix`: where one comes from.

    Raises:
        UserError: there is no such file, or it is damaged or something else.
    """
    if not path.is_file():
        raise UserError(f"no {what} {path}", fix=path_hint(path, fix))
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read as a PyTorch checkpoint", why=reason_of(error), fix=fix) from error


def save_weights(path: Path, model: nn.Module) -> None:
    """Write the model's state dict, on the CPU, atomically."""
    state = {
        name: value.detach().cpu() if isinstance(value, torch.Tensor) else value
        for name, value in model.state_dict().items()
    }
    with write_atomic(path) as temporary:
        torch.save(state, temporary)
