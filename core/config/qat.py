"""The section `qat`: calibration, distillation and fine-tuning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from core.config.section import Section, require_order

ActivationCalibrator = Literal["max", "moving_average", "percentile", "entropy", "mse"]
WeightCalibrator = Literal["max", "mse"]


class CalibrationOverride(Section):
    """Other settings for the quantizers that a pattern names; None leaves what they had."""

    match: str  # fnmatch: module paths as in placement.skip, or names of tensors
    method: ActivationCalibrator | None = None
    percentile: float | None = Field(default=None, gt=0, le=100)
    weights: WeightCalibrator | None = None


class CalibrationConfig(Section):
    """The computation of an amax from a range."""

    method: ActivationCalibrator = "mse"
    images: int = Field(default=32, gt=0)
    percentile: float = Field(default=99.99, gt=0, le=100)
    momentum: float = Field(default=0.9, ge=0, lt=1)  # moving_average: share of the old range that an image keeps
    weights: WeightCalibrator = "max"  # per channel
    overrides: tuple[CalibrationOverride, ...] = ()  # the last one that matches wins


class DistillConfig(Section):
    """Distillation: fine-tuning learns from the FP32 network besides the labels."""

    weight: float = Field(default=1.0, ge=0)  # of the distance between the logits; 0: no distillation
    temperature: float = Field(default=1.0, gt=0)
    features: tuple[str, ...] = ()  # module-path patterns (fnmatch) whose outputs are compared, too
    feature_weight: float = Field(default=1.0, ge=0)
    labels: bool = True  # False: masks are not used at all

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> DistillConfig:
        if self.weight == 0 and (self.features or not self.labels):
            raise ValueError("`features` and `labels: false` need a `weight` above 0")
        return self


class QatConfig(Section):
    """Quantization-aware fine-tuning; `epochs: 0` is post-training quantization."""

    approach: Literal["calibrate", "stats_only", "direct"] = "calibrate"
    toolkit: Literal["auto", "modelopt", "pytorch-quantization", "builtin"] = "auto"  # whose quantizers train
    epochs: int = Field(ge=0)
    batch_size: int = Field(default=6, gt=0)
    optimizer: Literal["sgd", "adamw"] = "sgd"  # adamw also moves weights whose gradients are small, as of large ranges
    lr: float = Field(default=1e-4, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    warmup_steps: int = Field(default=0, ge=0)
    clip_norm: float | None = Field(default=None, gt=0)
    batch_norm_steps: int = Field(default=0, ge=0)  # BatchNorm statistics move for these first steps, then freeze
    correct_means: bool = False  # before training, biases that give each layer the mean output of the float network
    ema_decay: float | None = Field(default=None, gt=0, lt=1)  # None: the weights themselves are exported
    keep: Literal["best", "last"] = "best"  # best: of all epochs and PTQ, by the tuning split; last: as trained
    early_stop_epochs: int | None = Field(default=None, gt=0)  # None: train to the end
    distill: DistillConfig = DistillConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    seed: int | None = Field(default=None, ge=0, lt=2**32)  # order and augmentation of the images; None: the run's
    learned_scales: bool = False  # LSQ for `calibrate`/`stats_only`; `direct` always learns
    freeze_last_epochs: float = Field(default=0.5, ge=0)  # stats_only: the EMA stops for these
    observe_steps: int = Field(default=20, gt=0)  # direct: steps whose EMA gives the first range
    scale_min: float = Field(default=0.75, gt=0)
    scale_max: float = Field(default=1.5, gt=0)

    @model_validator(mode="after")
    def _scales_in_order(self) -> QatConfig:
        require_order(self.scale_min, self.scale_max)
        return self

    @model_validator(mode="after")
    def _has_ranges_before_training(self) -> QatConfig:
        if self.approach == "direct" and self.correct_means:
            raise ValueError("`correct_means` needs ranges before training, which `direct` has not")
        return self

    @model_validator(mode="after")
    def _follows_before_it_freezes(self) -> QatConfig:
        if self.approach == "stats_only" and 0 < self.epochs <= self.freeze_last_epochs:
            raise ValueError("stats_only would never follow a range: `freeze_last_epochs` must be less than `epochs`")
        return self
