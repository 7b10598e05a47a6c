"""The section `deploy`: which engines are built."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.backends import BACKEND_NAMES, BackendName
from core.config.section import Section
from core.config.tensorrt_options import TensorrtConfig


class DeployConfig(Section):
    """The engines to build."""

    backends: tuple[BackendName, ...] = Field(default=BACKEND_NAMES, min_length=1)
    opset: int = Field(default=18, ge=18, le=20)
    workspace_mib: int = Field(default=4096, gt=0)
    image_to_mask: tuple[Literal["fp32", "bf16", "fp16", "int8"], ...] = ("fp32", "int8")  # also built as image → mask
    pixels: bool = True  # INT8 engines take 8-bit pixels, and QAT trains so; False: normalised float32
    fallback_precision: Literal["fp16", "fp32"] = "fp16"  # of the float part of TensorRT's INT8 engines
    tensorrt: TensorrtConfig = TensorrtConfig()  # TensorRT-RTX reads it, too
