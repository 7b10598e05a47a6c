"""The section `placement`: which rules apply, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from core.config.section import Section


class LayerSpec(Section):
    """The quantized sides of the weighted operators that a pattern names."""

    match: str  # as in placement.skip
    inputs: bool = True
    weights: bool = True

    @model_validator(mode="after")
    def _one_side(self) -> LayerSpec:
        if not (self.inputs or self.weights):
            raise ValueError("neither inputs nor weights: name the layer in `placement.skip`")
        return self


class PlacementConfig(Section):
    """The placement rules that apply; names as `python -m deploy rules` lists them."""

    rule_set: Literal["auto", "tensorrt", "openvino", "onnxruntime"] = (
        "auto"  # auto: tensorrt's in training, each target's own in engines
    )
    custom: tuple[Path, ...] = ()  # Python files whose RULES join those of the rule set
    tuned: tuple[Path, ...] = ()  # files of `python -m deploy autotune`, one per target; they replace its rules
    disable: tuple[str, ...] = ()
    only: tuple[str, ...] = ()  # patterns as in `skip`; when given, all other weighted operators stay float
    skip: tuple[str, ...] = ()  # node-name patterns (fnmatch) or operator kinds left in float
    layers: tuple[LayerSpec, ...] = ()  # the last one that matches wins
    weights: Literal["int8", "float"] = "int8"  # stored as integers behind a DQ, or as float32 before Q and DQ
    weight_scales: Literal["channel", "tensor"] = "channel"  # a scale per output channel, or one for the whole weight
