"""The allowed content of a bundle's `manifest.json`; other content is refused before a file of the engine is opened.

A manifest can come from elsewhere, and it decides which files are loaded and with which options of a vendor's library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from core.backends import BackendName
from core.config.schema_errors import problems, shortened
from core.config.tensorrt_options import TensorrtConfig

_VERSION = r"\d{1,4}\.\d{1,4}[\w.]{0,40}"
_MOST_PIXELS = 1 << 15  # of a side

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Channel = Annotated[int, Field(ge=0, le=255)]
Side = Annotated[int, Field(ge=1, le=_MOST_PIXELS)]
Threads = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    """Values have the JSON type they must have, since the JSON itself is used; facts nobody reads are left alone."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Tensor(_Part):
    name: str
    dtype: str
    shape: list[int | str | None]
    layout: str | None = None


class _Tensors(_Part):
    inputs: list[_Tensor] = Field(min_length=1)
    outputs: list[_Tensor] = Field(min_length=1)


class _Image(_Part):
    height_px: Side
    width_px: Side
    color: str = ""
    range: Annotated[list[float], Field(min_length=2, max_length=2)] = [0.0, 0.0]


class _Normalization(_Part):
    mean: list[float]
    std: list[float]
    of: str
    where: str


class _Class(_Part):
    name: str
    color: Annotated[list[Channel], Field(min_length=3, max_length=3)]


class _Meaning(_Part):
    kind: Literal["mask", "logits"] | None = None
    input: _Image | None = None
    normalization: _Normalization | None = None
    output: str = ""
    classes: Annotated[list[_Class], Field(max_length=255)] = []

    @model_validator(mode="after")
    def _drawable(self) -> _Meaning:
        if self.kind == "mask" and not self.classes:
            raise ValueError("an image → mask engine needs `classes`")
        return self


class _Pixels(_Part):
    """The facts about a block of 1 or 2×2 pixels (see `deploy.apply.feed_pixels.pixels_of`)."""

    constants: list[Annotated[int, Field(ge=-128, le=127)]]
    gain: Annotated[list[float], Field(min_length=3, max_length=3)]
    zero: Annotated[list[float], Field(min_length=3, max_length=3)]

    @field_validator("constants")
    @classmethod
    def _of_a_block(cls, constants: list[int]) -> list[int]:
        if len(constants) not in (1, 4):
            raise ValueError("one constant, or four")
        return constants


class _Placement(_Part):
    target: str | None = None
    tuned: bool = False
    skips: dict[str, int] = {}
    activations: int
    unsigned_activations: int
    weights: int
    convolutions: int
    quantized_convolutions: int


class _Gpu(_Part):
    name: str
    compute_capability: str


class _Device(_Part):
    cpu: list[str] | None = None
    gpu: _Gpu | None = None


class _Cpu(_Part):
    model: str
    flags: list[str]


class _Source(_Part):
    name: str
    sha256: Sha256


class _Options(_Part):
    threads: Threads = 1
    tensorrt: Annotated[TensorrtConfig, Field(strict=False)] = TensorrtConfig()


class _OpenVINOProperties(_Part):
    """The only ones that a build writes: others would write files (CACHE_DIR) or load code."""

    model_config = ConfigDict(extra="forbid")

    PERFORMANCE_HINT: Literal["LATENCY"]
    INFERENCE_NUM_THREADS: Threads
    INFERENCE_PRECISION_HINT: Literal["f32", "bf16"]


class Manifest(_Part):
    """The whole of it, without the number of its schema."""

    backend: BackendName
    version: str
    precision: Literal["fp32", "bf16", "fp16", "int8"]
    options: _Options
    device: _Device
    cpu: _Cpu
    tensors: _Tensors
    meaning: _Meaning
    pixels: _Pixels | None = None
    placement: _Placement
    source: _Source
    files: dict[FileName, Sha256]
    properties: _OpenVINOProperties | None = None
    threads: Threads | None = None

    @model_validator(mode="after")
    def _whole(self) -> Manifest:
        needed = {"openvino": self.properties, "onnxruntime": self.threads}
        if self.backend in needed and needed[self.backend] is None:
            raise ValueError(f"{'properties' if self.backend == 'openvino' else 'threads'} is missing")
        if self.backend.startswith("tensorrt") and not re.fullmatch(f"{self.backend} {_VERSION}", self.version):
            raise ValueError(f"version must be like `{self.backend} 10.9.0`, not {shortened(self.version)!r}")
        if self.device.cpu is None and "gpu" not in self.device.model_fields_set:
            raise ValueError("device.cpu is missing")
        return self


def manifest_problems(content: Mapping[str, Any]) -> list[str]:
    """The reasons why `content` is not a manifest; empty if it is one."""
    try:
        Manifest.model_validate(content)
    except ValidationError as error:
        return problems(error, Manifest)
    return []


def threads_of(content: Mapping[str, Any]) -> int:
    """CPUs that an engine was built to run on; 1 for one of a GPU."""
    properties = content.get("properties") or {}
    return int(properties.get("INFERENCE_NUM_THREADS") or content.get("threads") or 1)
