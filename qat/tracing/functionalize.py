"""Removes operations in place from traced networks: they overwrite tensors that quantizers keep for gradients."""

from __future__ import annotations

import copy
import inspect
import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

_OPERATORS = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}


def write_nothing_in_place(traced: fx.GraphModule) -> None:
    """Replace every operation in place by one that makes a new tensor, and redirect later readers to it."""
    order = {node: index for index, node in enumerate(traced.graph.nodes)}
    for node in list(traced.graph.nodes):
        written = _written_by(traced, node)
        if written is None:
            continue
        for reader in list(written.users):
            if order[reader] > order[node]:
                reader.replace_input_with(written, node)
    for name, module in list(traced.named_modules()):
        if getattr(module, "inplace", False):
            _set_copy(traced, name, module)
    traced.graph.lint()
    traced.recompile()


def _set_copy(traced: fx.GraphModule, name: str, module: nn.Module) -> None:
    """A module that writes a new tensor, in `traced` only: the original network stays unchanged."""
    out_of_place = copy.copy(module)
    out_of_place.inplace = False  # type: ignore[assignment]
    parent, _, own = name.rpartition(".")
    setattr(traced.get_submodule(parent), own, out_of_place)


def _written_by(traced: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The value that `node` overwrites, if any; the node is changed to write a new tensor."""
    overwrites = False
    if node.op == "call_module":
        overwrites = bool(getattr(traced.get_submodule(str(node.target)), "inplace", False))
    elif node.op == "call_method":
        plain = _without_underscore(str(node.target), Tensor)
        overwrites = plain is not None
        node.target = plain or node.target
    elif node.op == "call_function":
        overwrites = _replace_function(node)
    first = node.args[0] if node.args else node.kwargs.get("input")
    return first if overwrites and isinstance(first, fx.Node) else None


def _replace_function(node: fx.Node) -> bool:
    """Return True if the function wrote in place, and change it to write a new tensor."""
    if node.target in _OPERATORS:
        node.target = _OPERATORS[node.target]
        return True
    name = getattr(node.target, "__name__", "")
    for home in (torch, F):
        plain = _without_underscore(name, home)
        if plain is not None and getattr(home, name, None) is node.target:
            node.target = getattr(home, plain)
            return True
    try:
        given = inspect.signature(node.target).bind(*node.args, **node.kwargs)  # type: ignore[arg-type]
    except (TypeError, ValueError):  # builtins without a signature have no such parameter
        return False
    if not given.arguments.get("inplace"):
        return False
    given.arguments["inplace"] = False
    node.args, node.kwargs = given.args, given.kwargs
    return True


def _without_underscore(name: str, home: Any) -> str | None:
    """The name of the function that computes the same into a new tensor."""
    plain = name[:-1]
    return plain if name.endswith("_") and not name.endswith("__") and hasattr(home, plain) else None
