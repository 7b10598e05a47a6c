"""Loads weights and checks that every parameter is set: a silent partial load gives plausible but wrong masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from core.errors import UserError
from qat.models.tensor_file import load_file

ORIGINAL_PREFIX = "model."  # the authors save their training wrapper, which calls the network `model`
TRAINING_ONLY = ("loss.", "sem_loss.", "bd_loss.")  # other entries of that wrapper
SHOWN = 5


def load_state(model: nn.Module, path: Path) -> None:
    """Load a checkpoint into `model`; it must hold every key of the model in the same shape.

    The file is a state dict, or a dict with one under "state_dict". Keys may carry the authors' prefix `model.`.
    Extra weights are allowed under the prefixes in the model's attribute `training_only`, such as an auxiliary head's.

    Raises:
        UserError: no such file, not a checkpoint, keys that are missing, unexpected or of another shape, or values that
            are not finite numbers in memory (NaN, sparse or meta tensors).
    """
    wanted = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    state = read_state(path)
    if not any(name.startswith(ORIGINAL_PREFIX) for name in wanted):
        state = {name.removeprefix(ORIGINAL_PREFIX): value for name, value in state.items()}
    left_over = (*TRAINING_ONLY, *getattr(model, "training_only", ()))
    problems = [
        *_listed("missing", wanted.keys() - state.keys()),
        *_listed("unexpected", (name for name in state.keys() - wanted.keys() if not name.startswith(left_over))),
        *_listed(
            "other shape",
            (
                f"{name} {tuple(state[name].shape)} for {tuple(wanted[name].shape)}"
                for name in wanted.keys() & state.keys()
                if state[name].shape != wanted[name].shape
            ),
        ),
    ]
    if problems:
        raise UserError(
            f"{path} does not fit {type(model).__name__}",
            why="; ".join(problems),
            fix="check model.name and model.num_classes",
        )
    _require_numbers(path, {name: state[name] for name in wanted})
    model.load_state_dict({name: state[name] for name in wanted}, strict=False)


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint file by name; raises `UserError` when the file is missing or unreadable."""
    content = load_file(path, "checkpoint", "check model.checkpoint (CKPT=…)")
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds {type(content).__name__}, not a state dict")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _require_numbers(path: Path, state: Mapping[str, Tensor]) -> None:
    """Raise `UserError` for tensors that cannot be weights: without values, of another layout, NaN or infinite."""
    strange = [name for name, value in state.items() if value.is_meta or value.layout != torch.strided]
    strange = strange or [name for name, value in state.items() if value.is_quantized or value.is_complex()]
    broken = [] if strange else [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
    problems = _listed("sparse, complex, quantized or without values", strange) + _listed("NaN or infinite", broken)
    if problems:
        raise UserError(f"{path} holds no usable weights", "; ".join(problems), "use a checkpoint with finite weights")


def _listed(problem: str, names: Iterable[str]) -> list[str]:
    found = sorted(names)
    if not found:
        return []
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return [f"{problem}: {', '.join(found[:SHOWN])}{more}"]
