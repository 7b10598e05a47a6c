"""Quantizers for convolutions and products that a network calls as functions, for networks that cannot be traced.

`F.conv2d(x, self.w)` is not a module that could be replaced. A `TorchFunctionMode` around `forward` intercepts the
call, identifies the weight object, and quantizes both operands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from core.console import say
from qat.quantization.quantized_layers import WEIGHT_QUANTIZER, layer_type
from qat.quantization.quantizers import activation_quantizer, weight_quantizer
from qat.tracing import fx_graph
from qat.tracing.inputs import Inputs, apply

INPUT_QUANTIZER = "input_quantizer"
HOLDER = "_quantized"  # appended to a weight's name: the submodule beside it that holds both quantizers
AXES: dict[Callable[..., Any], int] = {
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d, F.linear), 0),
    **dict.fromkeys((F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d), 1),
}  # output-channel axis of the weight by function
GROUPS_OF_TRANSPOSED = 6  # position of the argument
Weights = tuple[tuple[str, int], ...]


def functional_weights(model: nn.Module, example: Inputs) -> Weights:
    """Name and output-channel axis of every parameter that `model(example)` passes to a function directly.

    Weights of layers that have a quantized form are left out. Computed weights are left out with a message.
    """
    named = {id(value): name for name, value in model.named_parameters()}
    quantizable = [module for module in model.modules() if layer_type(module) is not None]
    layers = {id(parameter) for module in quantizable for parameter in module.parameters(recurse=False)}
    found: dict[str, int] = {}
    computed = 0

    def record(x: Tensor, weight: Tensor, axis: int, groups: int) -> tuple[Tensor, Tensor]:
        nonlocal computed
        if id(weight) in named and id(weight) not in layers and (axis == 0 or groups == 1):
            found[named[id(weight)]] = axis
        computed += id(weight) not in named
        return x, weight

    with torch.no_grad(), _Operands(record):
        apply(model, example)
    if computed:
        say(f"{computed} calls with a weight that forward() computes stay float")
    return tuple(found.items())


def quantize_functions(model: nn.Module, weights: Weights) -> None:
    """Put quantizers beside these parameters and use them wherever `forward` passes the parameter to a function."""
    if not weights:
        return
    for name, axis in weights:
        owner, _, own = name.rpartition(".")
        holder = nn.Module()
        holder.add_module(INPUT_QUANTIZER, activation_quantizer())
        holder.add_module(WEIGHT_QUANTIZER, weight_quantizer(fx_graph.attribute(model, name), axis))
        model.get_submodule(owner).add_module(own + HOLDER, holder)
    kind = type(model)
    model.functional_weights = weights  # type: ignore[assignment]
    model.__class__ = type(kind.__name__, (_Functional, kind), {})


class _Functional:
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        names = [name for name, _ in self.functional_weights]
        holders = {id(fx_graph.attribute(self, name)): self.get_submodule(name + HOLDER) for name in names}

        def quantized(x: Tensor, weight: Tensor, axis: int, groups: int) -> tuple[Tensor, Tensor]:
            holder = holders.get(id(weight))
            if holder is None:
                return x, weight
            return holder.get_submodule(INPUT_QUANTIZER)(x), holder.get_submodule(WEIGHT_QUANTIZER)(weight)

        with _Operands(quantized):
            return super().forward(*args, **kwargs)  # type: ignore[misc]


class _Operands(TorchFunctionMode):
    """A mode that passes input, weight, channel axis and groups of each call of `AXES`' functions to `change`."""

    def __init__(self, change: Callable[[Tensor, Tensor, int, int], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.change = change

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func not in AXES:
            return func(*args, **(kwargs or {}))
        named = dict(zip(("input", "weight"), args, strict=False)) | (kwargs or {})
        groups = named.get("groups", args[GROUPS_OF_TRANSPOSED] if len(args) > GROUPS_OF_TRANSPOSED else 1)
        x, weight = self.change(named.pop("input"), named.pop("weight"), AXES[func], groups)
        return func(x, weight, *args[2:], **named)
