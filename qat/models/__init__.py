"""The networks: PIDNet, classifiers, or the user's own network from a factory function."""

from __future__ import annotations

from torch import nn

from core.config import ModelConfig
from core.errors import UserError
from core.files.user_code import call_with, load_function
from qat.models.efficientnet_lite import EfficientNetLite0
from qat.models.pidnet import SIZES, PIDNet
from qat.models.resnet import RESNETS, ResNet


def build_model(config: ModelConfig, *, augment: bool) -> nn.Module:
    """The network with fresh weights.

    Args:
        config: `name` is one of the networks here, or `custom` with a `factory`.
        augment: with auxiliary heads, for FP32 training; a factory that has no parameter of this name makes the same
            network either way.

    Raises:
        UserError: the factory cannot be imported, needs other arguments or does not return a module.
    """
    if config.name in SIZES:
        return PIDNet(SIZES[config.name], config.num_classes, augment=augment)
    if config.name in RESNETS:
        return ResNet(RESNETS[config.name], config.num_classes)
    if config.factory is None:
        return EfficientNetLite0(config.num_classes)
    what = f"model.factory: {config.factory}"
    offered = {"num_classes": config.num_classes, "augment": augment}
    model = call_with(load_function(config.factory, "model.factory"), offered, what)
    if not isinstance(model, nn.Module):
        raise UserError(f"{config.factory} returned {type(model).__name__}", why="it must return an nn.Module")
    return model
