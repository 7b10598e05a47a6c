"""Quantizers of convolutions and products that a network calls as functions, for networks that cannot be traced.

`F.conv2d(x, self.w)` is no module that could be exchanged. A `TorchFunctionMode` around `forward` sees the call, knows
the weight by its identity and quantizes both operands on their way in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
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
    """Name and output-channel axis of every parameter that `model(example)` gives to a function itself.

    Weights of layers that have a quantized form are left out, and so are computed weights, which is said.
    """
    named = {id(value): name for name, value in model.named_parameters()}
    layers = {
        id(parameter)
        for module in model.modules()
        if layer_type(module) is not None
        for parameter in module.parameters(recurse=False)
    }
    found: dict[str, int] = {}
    computed = 0

    def record(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        nonlocal computed
        weight = args[1] if len(args) > 1 else kwargs["weight"]
        groups = kwargs.get("groups", args[GROUPS_OF_TRANSPOSED] if len(args) > GROUPS_OF_TRANSPOSED else 1)
        if id(weight) in named and id(weight) not in layers and (AXES[function] == 0 or groups == 1):
            found[named[id(weight)]] = AXES[function]
        computed += id(weight) not in named
        return function(*args, **kwargs)

    with torch.no_grad(), _Weighted(record):
        apply(model, example)
    if computed:
        say(f"{computed} calls with a weight that forward() computes stay float")
    return tuple(found.items())


def quantize_functions(model: nn.Module, weights: Weights) -> None:
    """Put quantizers beside these parameters and use them wherever `forward` gives the parameter to a function."""
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
        holders = {
            id(fx_graph.attribute(self, name)): self.get_submodule(name + HOLDER) for name, _ in self.functional_weights
        }

        def quantized(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
            operands = dict(zip(("input", "weight"), args, strict=False)) | dict(kwargs)
            holder = holders.get(id(operands["weight"]))
            if holder is not None:
                operands["input"] = holder.get_submodule(INPUT_QUANTIZER)(operands["input"])
                operands["weight"] = holder.get_submodule(WEIGHT_QUANTIZER)(operands["weight"])
            return function(operands.pop("input"), operands.pop("weight"), *args[2:], **operands)

        with _Weighted(quantized):
            return super().forward(*args, **kwargs)  # type: ignore[misc]


class _Weighted(TorchFunctionMode):
    """Hands the calls of `AXES`' functions to `call`; what that calls is not seen again."""

    def __init__(self, call: Callable[[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]], Any]) -> None:
        super().__init__()
        self.call = call

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in AXES:
            return self.call(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))
