"""Captures networks that torch.fx cannot trace through torch.export: the graph of operators that ran for the example.

The graph has the names of the parameters, so that quantizers, checkpoints and plans find them. It is the graph of
evaluation mode: BatchNorm and dropout stay in this mode while quantizers train.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_unflatten

from core.errors import UserError
from qat.tracing.inputs import Inputs

_AUTO = torch.export.Dim.AUTO


def exported(model: nn.Module, example: Inputs, why_not_fx: str) -> fx.GraphModule:
    """The graph of `model` in evaluation mode, on the same parameters, with batch and image size dynamic if possible.

    Raises:
        UserError: torch.export cannot capture the network either.
    """
    model.eval()
    errors = []
    for images, dynamic in ((2, True), (1, True), (1, False)):  # a batch of one counts as fixed; so do some sizes
        args, kwargs = _arguments(example, images)
        shapes = {name: _dynamic(value) for name, value in kwargs.items()} if kwargs else tuple(map(_dynamic, args))
        try:
            with torch.no_grad(), _quiet():
                program = torch.export.export(model, args, kwargs, dynamic_shapes=shapes if dynamic else None)
                program = program.run_decompositions({})  # no operations in place; operators stay whole
                graph = program.module(check_guards=False)
            break
        except Exception as error:  # torch.export has many exception types, none of them public
            errors.append(error)
    else:
        raise UserError(
            f"neither torch.fx nor torch.export can trace {type(model).__name__}",
            why=why_not_fx,
            fix="move control flow that depends on tensor values out of forward()",
        ) from errors[-1]
    assert isinstance(graph, fx.GraphModule)
    return _on_parameters_of(model, graph, program.call_spec.out_spec)


def _on_parameters_of(model: nn.Module, graph: fx.GraphModule, outputs: Any) -> fx.GraphModule:
    """`graph` as an ordinary module, which can switch modes and shares the parameters of `model`."""
    plain = fx.GraphModule(graph, graph.graph, type(model).__name__)
    plain.graph.set_codegen(fx.graph.CodeGen())
    for node in list(plain.graph.nodes):
        if node.op == "call_module" and "guards" in str(node.target):
            plain.graph.erase_node(node)
    result = next(node for node in plain.graph.nodes if node.op == "output")
    result.args = (tree_unflatten(list(result.args[0]), outputs),)
    for name, parameter in model.named_parameters():
        parent, _, own = name.rpartition(".")
        try:
            holder = plain.get_submodule(parent)
        except AttributeError:  # the graph lacks everything that evaluation does not use
            continue
        if hasattr(holder, own):
            setattr(holder, own, parameter)
    plain.recompile()
    return plain


def _arguments(example: Inputs, images: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments in order and by name, with the example's images repeated that many times."""

    def several(value: Any) -> Any:
        return value.repeat(images, 1, 1, 1) if isinstance(value, Tensor) and value.ndim == 4 else value

    if isinstance(example, Mapping):
        return (), {name: several(value) for name, value in example.items()}
    return tuple(map(several, (example,) if isinstance(example, Tensor) else example)), {}


def _dynamic(value: Any) -> Any:
    """Dynamic batch, height and width of an image; other inputs are fixed."""
    if not isinstance(value, Tensor) or value.ndim != 4:
        return None
    return {0: _AUTO, 2: _AUTO, 3: _AUTO}


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)  # errors are raised, and their records hold pages of the graph
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
