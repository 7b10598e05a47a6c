"""The section `train`: FP32 training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from core.config.section import Section, require_order


class TrainConfig(Section):
    """FP32 training, as in the PIDNet paper (Xu et al., CVPR 2023) unless set otherwise."""

    epochs: int = Field(default=0, ge=0)  # 0 with model.checkpoint
    batch_size: int = Field(default=6, gt=0)  # per process
    optimizer: Literal["sgd", "adamw"] = "sgd"  # adamw learns faster when there are only some hundred steps
    lr: float = Field(default=0.01, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    poly_power: float = Field(default=0.9, gt=0)
    scale_min: float = Field(default=0.5, gt=0)
    scale_max: float = Field(default=2.0, gt=0)
    crop_height_px: int | None = Field(default=None, gt=0)  # None: the height of the pictures
    crop_width_px: int | None = Field(default=None, gt=0)
    flip: bool = True
    ohem_threshold: float = Field(default=0.9, gt=0, le=1)
    ohem_min_kept: float = Field(default=0.125, ge=0, le=1)  # share of the batch's pixels
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 where CPU (AMX/AVX512_BF16) or GPU has it
    checkpoint_every_steps: int = Field(default=200, gt=0)

    @model_validator(mode="after")
    def _scales_in_order(self) -> TrainConfig:
        require_order(self.scale_min, self.scale_max)
        return self
