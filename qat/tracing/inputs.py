"""Arguments of a network: one tensor, several in order, or several by the names of `forward`'s parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from core.errors import UserError

Inputs = Tensor | tuple[Any, ...] | Mapping[str, Any]


def apply(model: Callable[..., Any], inputs: Inputs) -> Any:
    """`model` called with `inputs`: a tuple is given in order, a mapping by name."""
    if isinstance(inputs, Tensor):
        return model(inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs)


def device_of(model: nn.Module) -> torch.device:
    """The device of the network's parameters; the CPU for a network without parameters."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def in_order(traced: fx.GraphModule, inputs: Inputs) -> tuple[Any, ...]:
    """`inputs` in the order of the graph's placeholders, for an interpreter.

    Raises:
        UserError: `forward` takes arbitrary names, which placeholders cannot represent.
    """
    if isinstance(inputs, Tensor):
        return (inputs,)
    if not isinstance(inputs, Mapping):
        return inputs
    placeholders = [node for node in traced.graph.nodes if node.op == "placeholder"]
    if any(str(node.target).startswith("*") for node in placeholders):
        raise UserError("forward() takes any arguments by name", fix="name its parameters")
    return tuple(inputs[str(node.target)] for node in placeholders)
