"""The `data` section: the images of a run and their size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from core.config.section import Section

Spread = Annotated[float, Field(gt=0)]


CLASSIFIED = ("folders", "flat")  # data sets whose images have one class each


class TuningConfig(Section):
    """The part of train that choices are evaluated on. Nothing else reads it; see docs/guides/data.md."""

    by: Literal["auto", "sequence", "block", "image"] = "auto"  # auto: inferred from names and labels
    share: float = Field(default=0.15, gt=0, le=0.5)  # of the training images, at least
    images: int = Field(default=64, gt=0)  # at most; held-out images beyond this number are not used at all
    gap_images: int = Field(default=3, ge=0)  # images left unused before and after each block
    fold: int = Field(default=0, ge=0)  # another number holds out other sequences or blocks


class DataConfig(Section):
    """Images and their labels. The sides are those of the engine's input; PIDNet needs multiples of 8.

    `custom` calls `factory` ("file.py:function") with `root` and `split`; it returns the data (docs/guides/data.md).
    """

    name: Literal["streets", "camvid", "camvid_original", "cityscapes", "folders", "flat", "custom"] = "streets"
    factory: str | None = None
    root: Path | None = None
    height_px: int = Field(gt=0)
    width_px: int = Field(gt=0)
    train_images: int | None = Field(default=None, gt=0)  # None: all images
    val_images: int | None = Field(default=None, gt=0)
    tuning: TuningConfig = TuningConfig()
    train_masks: bool = True  # False: training images have no label maps, or no classes
    shorter_side_px: int | None = Field(default=None, gt=0)  # classification: before the crop; None: 8/7 of its size
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # RGB, of pixel values / 255
    std: tuple[Spread, Spread, Spread] = (0.229, 0.224, 0.225)

    @model_validator(mode="after")
    def _factory_for_custom(self) -> DataConfig:
        if (self.name == "custom") != (self.factory is not None):
            raise ValueError("`factory` goes with `name: custom`, and only with it")
        return self

    @model_serializer(mode="wrap")
    def _factory_where_there_is_one(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keep runs up to date that were made before this key existed."""
        late = ("factory", "shorter_side_px")
        return {name: value for name, value in plain(self).items() if name not in late or value is not None}
