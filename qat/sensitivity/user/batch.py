"""One batch of the user's loader as the network's input and the criterion's target."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from core.errors import UserError
from qat.tracing.inputs import Inputs

IMAGE_KEYS = ("image", "images", "input", "inputs", "x", "pixel_values", "data")
TARGET_KEYS = ("label", "labels", "target", "targets", "mask", "masks", "y")


@dataclass(frozen=True)
class Parameters:
    """What `forward` can be given.

    Attributes:
        required: how many parameters have no default.
        most: how many can be tensors: those without a default or with None; infinite for `*args`.
        names: of the parameters.
        any_name: it has no parameters but `**kwargs`.
    """

    required: int = 1
    most: float = 1
    names: frozenset[str] = frozenset()
    any_name: bool = False

    def takes(self, name: str) -> bool:
        """Whether something can be given by this name."""
        return self.any_name or name in self.names


ONE_TENSOR = Parameters()


def parameters_of(model: nn.Module) -> Parameters:
    """Of the network's `forward`; one tensor where Python cannot tell, as of a scripted module."""
    try:
        found = list(inspect.signature(model.forward).parameters.values())
    except ValueError:
        return ONE_TENSOR
    kinds = {item.kind for item in found}
    named = [item for item in found if item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)]
    several = inspect.Parameter.VAR_POSITIONAL in kinds
    return Parameters(
        required=sum(item.default is item.empty for item in named),
        most=math.inf if several else sum(item.default is item.empty or item.default is None for item in named),
        names=frozenset(item.name for item in named if item.kind is not item.POSITIONAL_ONLY),
        any_name=kinds == {inspect.Parameter.VAR_KEYWORD},
    )


def input_and_target(batch: Any, parameters: Parameters) -> tuple[Inputs, Any]:
    """The network's input and the criterion's target; docs/sensitivity.md has the rule.

    Raises:
        UserError: the batch is neither a sequence nor a mapping with both.
    """
    inputs, target = None, None
    if isinstance(batch, Mapping):
        inputs, target = _of_mapping(batch, parameters)
    elif isinstance(batch, Sequence) and len(batch) >= 2:
        inputs, target = _of_sequence(batch, parameters)
    if inputs is None or target is None:
        raise UserError(
            "get_data_loader() must give batches of (input, target), the input a tensor or several",
            why=f"it gave {_kinds(batch)}",
            fix=f"a mapping needs one of {', '.join(TARGET_KEYS)}, and one of {', '.join(IMAGE_KEYS)} or the names of "
            "forward()'s parameters",
        )
    return inputs, target


def _kinds(batch: Any) -> str:
    """Such as "tuple of ndarray, int"."""
    if isinstance(batch, Mapping):
        members = [f"{key}: {type(item).__name__}" for key, item in batch.items()]
    else:
        members = [type(item).__name__ for item in batch] if isinstance(batch, list | tuple) else []
    return f"{type(batch).__name__} of {', '.join(members)}" if members else type(batch).__name__


def _of_sequence(batch: Sequence[Any], parameters: Parameters) -> tuple[Inputs | None, Any]:
    count = parameters.required
    if count > 1 and len(batch) > count and all(isinstance(item, Tensor) for item in batch[:count]):
        return tuple(batch[:count]), batch[count]
    return _given(batch[0], parameters), batch[1]


def _of_mapping(batch: Mapping[str, Any], parameters: Parameters) -> tuple[Inputs | None, Any]:
    target = next((key for key in TARGET_KEYS if key in batch), None)
    image = next((batch[key] for key in IMAGE_KEYS if key in batch), None)
    tensors = {key: value for key, value in batch.items() if key != target and isinstance(value, Tensor)}
    named = {key: value for key, value in tensors.items() if parameters.takes(key)}
    inputs = named if len(named) > 1 or (named and image is None) else _given(image, parameters)
    return inputs, None if target is None else batch[target]


def _given(value: Any, parameters: Parameters) -> Inputs | None:
    """What stands where the input is expected, as arguments: its members, or itself where `forward` wants it whole."""
    if isinstance(value, Tensor):
        return value
    if not _of_tensors(value):
        return None
    if isinstance(value, Mapping):
        named = {key: item for key, item in value.items() if parameters.takes(key)}
        return named or (value,)
    return tuple(value) if parameters.required <= len(value) <= parameters.most else (value,)


def is_batch(value: Any) -> bool:
    """Whether it has the form of one batch, whatever the network takes, and not of several."""
    if isinstance(value, Mapping):
        target = next((key for key in TARGET_KEYS if key in value), None)
        others = (item for key, item in value.items() if key != target)
        return target is not None and value[target] is not None and any(_of_tensors(item) for item in others)
    if not isinstance(value, Sequence) or len(value) < 2 or value[1] is None:
        return False
    return isinstance(value[0], Tensor) or (_of_tensors(value[0]) and isinstance(value[1], Tensor))


def _of_tensors(value: Any) -> bool:
    """A tensor, or a sequence or mapping of tensors."""
    if isinstance(value, Tensor):
        return True
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return len(items) > 0 and all(isinstance(item, Tensor) for item in items)


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
    """`items` in a list or (named) tuple as `value` is one."""
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def shapes_of(value: Any) -> list[tuple[int, ...]]:
    """Of all tensors in it."""
    found: list[tuple[int, ...]] = []
    map_tensors(value, lambda tensor: found.append(tuple(tensor.shape)))
    return found
