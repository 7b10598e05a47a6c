"""The networks: PIDNet, or a user's own from a factory function."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from core.config import ModelConfig
from core.errors import UserError
from qat.models.pidnet import SIZES, PIDNet


def build_model(config: ModelConfig, *, augment: bool) -> nn.Module:
    """The network with fresh weights.

    Args:
        config: `name` is a PIDNet size, or `custom` with a `factory`.
        augment: with PIDNet's auxiliary heads, for FP32 training; a custom model is the same either way.

    Raises:
        UserError: the factory cannot be imported, wants other arguments or does not return a module.
    """
    if config.factory is None:
        return PIDNet(SIZES[config.name], config.num_classes, augment=augment)
    factory = load_function(config.factory)
    model = factory(**_arguments(factory, config))
    if not isinstance(model, nn.Module):
        raise UserError(f"{config.factory} returned {type(model).__name__}", why="it must return an nn.Module")
    return model


def load_function(reference: str) -> Callable[..., Any]:
    """The function that "path/to/file.py:function" names; raises `UserError` when there is none."""
    file, separator, name = reference.rpartition(":")
    path = Path(file)
    if not separator or path.suffix != ".py" or not path.is_file():
        why = f"no Python file {file or reference}"
        raise UserError(f"model.factory: {reference}", why=why, fix="write file.py:function")
    spec = importlib.util.spec_from_file_location(f"model_factory_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError) as error:
        raise UserError(f"model.factory: {reference}", why=f"{file} cannot be imported: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"model.factory: {reference}", why=f"{file} has no function {name}")
    return function


def _arguments(factory: Callable[..., Any], config: ModelConfig) -> dict[str, int]:
    """`num_classes` where `factory` takes it by name, also through `**options`; nothing else is ever passed."""
    signature = inspect.signature(factory)
    for arguments in ({"num_classes": config.num_classes}, {}):
        try:
            signature.bind(**arguments)
        except TypeError as error:
            refusal = str(error)
        else:
            return arguments
    raise UserError(f"model.factory: {config.factory}", why=refusal, fix="give its other arguments defaults")
