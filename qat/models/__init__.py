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
        UserError: the factory cannot be found or does not return a module.
    """
    if config.factory is None:
        return PIDNet(SIZES[config.name], config.num_classes, augment=augment)
    factory = load_function(config.factory)
    accepts = inspect.signature(factory).parameters
    model = factory(num_classes=config.num_classes) if "num_classes" in accepts else factory()
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
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"model.factory: {reference}", why=f"{file} has no function {name}")
    return function
