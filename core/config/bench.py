"""The section `bench`: how engines are timed and accepted."""

from __future__ import annotations

from pydantic import Field, model_validator

from core.backends import BackendName
from core.config.section import Section


class SweepConfig(Section):
    """Points of the cost curves; one network is exported and built for each, from the run's weights."""

    enabled: bool = False  # `make bench` sweeps too; `python benchmarks/sweep.py` always does
    backends: tuple[BackendName, ...] = ("openvino",)
    batches: tuple[int, ...] = (1, 2, 4, 8, 16)  # at the size of `data`
    sizes_px: tuple[tuple[int, int], ...] = ((256, 512), (360, 480), (512, 1024), (768, 1536), (1024, 2048))
    rounds: int = Field(default=5, gt=0)
    runs_per_round: int = Field(default=2, gt=0)

    @model_validator(mode="after")
    def _positive(self) -> SweepConfig:
        if min((*self.batches, *(side for size in self.sizes_px for side in size)), default=1) < 1:
            raise ValueError("batches and sides are at least 1")
        return self


class BenchConfig(Section):
    """The timing of engines, and the limits that they must meet."""

    rounds: int = Field(default=20, gt=0)  # interleaved A B A B rounds
    runs_per_round: int = Field(default=5, gt=0)
    warmup_ms: int = Field(default=5000, ge=0)  # at most; it ends when the engine is steady
    throughput_ms: int = Field(default=3000, ge=0)  # 0: throughput is not measured
    threads: int = Field(default=1, gt=0)
    strip_images: int = Field(default=4, gt=0)
    gate_drop_points: float = Field(default=1.0, ge=0)  # of the task's metric below FP32 that --gate allows
    gate_bytes_ratio: float | None = Field(default=None, gt=0)  # bytes that INT8 may move over BF16 or FP16; None: any
    sweep: SweepConfig = SweepConfig()
