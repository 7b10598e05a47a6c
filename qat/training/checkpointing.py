"""Checkpoints: an interrupted training resumes from them with the same result."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch

from core.console import say
from core.files.artifacts import write_atomic
from qat.models.tensor_file import UNREADABLE, reason_of


class Stateful(Protocol):
    """Anything with a state of tensors, numbers, strings and containers of these."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


def save_checkpoint(path: Path, key: str, step: int, parts: dict[str, Stateful]) -> None:
    """Write the state of `parts` after `step` completed steps; `key` identifies the training plan."""
    state = {name: part.state_dict() for name, part in parts.items()}
    with write_atomic(path) as temporary:
        torch.save({"key": key, "step": step, "state": state}, temporary)


def load_checkpoint(path: Path, key: str, parts: dict[str, Stateful]) -> int:
    """Restore `parts`, each on its device; return the completed steps, 0 without a checkpoint of this plan."""
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
