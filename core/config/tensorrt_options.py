"""The config section `deploy.tensorrt`; docs/reference/engines.md says more about each key."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from core.config.section import Section


class BatchConfig(Section):
    """Batch sizes of an engine with a dynamic batch: the limits, and the size that it is tuned for."""

    min: int = Field(default=1, ge=1)
    opt: int = Field(ge=1)
    max: int = Field(ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> BatchConfig:
        if not self.min <= self.opt <= self.max:
            raise ValueError("a batch needs min <= opt <= max")
        return self


ComputeCapability = Annotated[str, BeforeValidator(str), Field(pattern=r"^\d+\.\d$")]  # YAML reads 8.6 as a number


class TensorrtConfig(Section):
    """Options that only TensorRT's builder and runtime have."""

    batch: BatchConfig | None = None  # None: the batch of the export, which is 1
    optimization_level: int | None = Field(default=None, ge=0, le=5)  # None: the builder's own default
    version_compatible: bool = False  # later versions load the engine, too
    hardware_compatibility: Literal["none", "ampere_plus", "same_compute_capability"] = "none"
    compute_capabilities: tuple[ComputeCapability, ...] = ()  # GPUs that TensorRT-RTX builds for; none: its own default
    timing_cache: bool = True  # reuse the kernel timings of earlier builds
    cuda_graph: bool = False  # launch an inference as one CUDA graph
