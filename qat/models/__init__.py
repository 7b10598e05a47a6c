"""The networks: PIDNet, or a user's own from a factory function."""

from __future__ import annotations

from torch import nn

from core.config import ModelConfig
from core.errors import UserError
from core.user_code import call_with, load_function
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
    what = f"model.factory: {config.factory}"
    offered = {"num_classes": config.num_classes}
    model = call_with(load_function(config.factory, "model.factory"), offered, what)
    if not isinstance(model, nn.Module):
        raise UserError(f"{config.factory} returned {type(model).__name__}", why="it must return an nn.Module")
    return model
