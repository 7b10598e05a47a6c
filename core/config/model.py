"""The section `model`: the network and its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from core.config.section import Section
from core.files.packaged_file import packaged


class ModelConfig(Section):
    """The network. `custom` calls `factory` ("file.py:function"), which returns an `nn.Module`."""

    name: Literal["pidnet_s", "pidnet_m", "pidnet_l", "resnet18", "resnet50", "efficientnet_lite0", "custom"] = (
        "pidnet_s"
    )
    num_classes: int = Field(default=11, ge=2)
    factory: str | None = None
    output: int | str | None = None  # position or key of the head that is evaluated and deployed, if there are several
    loss: str | None = None  # "file.py:function" of FP32 training and of fine-tuning with labels; None: the task's
    checkpoint: Annotated[Path | None, BeforeValidator(packaged)] = None  # FP32 weights, instead of FP32 training

    @model_validator(mode="after")
    def _factory_for_custom(self) -> ModelConfig:
        if (self.name == "custom") != (self.factory is not None):
            raise ValueError("`factory` goes with `name: custom`, and only with it")
        return self
