"""Reads the documented forms: the network's input and the criterion's target in a batch, the scored tensor of an
output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

from core.errors import UserError
from qat.tracing.inputs import Inputs

TARGET = "target"


def input_and_target(batch: Any) -> tuple[Inputs, Any]:
    """The network's input and the criterion's target.

    `(input, target, …)`: the input is a tensor, a sequence given to `forward` in order, or a mapping given by name.
    `{"target": …}`: its other tensors are given to `forward` by name.

    Raises:
        UserError: the batch has another form.
    """
    inputs: Any = None
    target: Any = None
    if isinstance(batch, Mapping):
        inputs = {name: value for name, value in batch.items() if name != TARGET and isinstance(value, Tensor)}
        target = batch.get(TARGET)
    elif isinstance(batch, list | tuple) and len(batch) > 1:
        inputs, target = batch[0], batch[1]
    if not shapes_of(inputs) or target is None:
        raise UserError(
            "get_data_loader() must give batches of (input, target)",
            why=f"it gave {_kinds(batch)}",
            fix=f"the input is a tensor, a tuple or a dict of tensors; in a batch that is a dict, {TARGET!r} is the "
            "criterion's and the other names are those of forward()'s parameters",
        )
    return tuple(inputs) if isinstance(inputs, list) else inputs, target


def logits_of(output: Any) -> Tensor:
    """The output itself, or the first of a sequence or a mapping."""
    if isinstance(output, Tensor):
        return output
    items = list(output.values()) if isinstance(output, Mapping) else output
    if isinstance(items, list | tuple) and items:
        return logits_of(items[0])
    raise UserError(
        f"the network returns {type(output).__name__}",
        why="its first output is scored",
        fix="return a tensor, or a sequence or mapping of them",
    )


def _kinds(batch: Any) -> str:
    """A description of a type, such as "tuple of ndarray, int"."""
    members: list[str] = []
    if isinstance(batch, Mapping):
        members = [f"{key}: {type(item).__name__}" for key, item in batch.items()]
    elif isinstance(batch, list | tuple):
        members = [type(item).__name__ for item in batch]
    return f"{type(batch).__name__} of {', '.join(members)}" if members else type(batch).__name__


def map_tensors(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """`value` with `change` applied to its tensors, through sequences and mappings."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: map_tensors(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return like(value, [map_tensors(item, change) for item in value])
    return value


def like(value: list[Any] | tuple[Any, ...], items: Iterable[Any]) -> Any:
    """`items` as a list or (named) tuple, whichever `value` is."""
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def shapes_of(value: Any) -> list[tuple[int, ...]]:
    """Shapes of all tensors in `value`."""
    found: list[tuple[int, ...]] = []
    map_tensors(value, lambda tensor: found.append(tuple(tensor.shape)))
    return found
