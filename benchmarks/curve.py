"""What a sweep found: the models of sweep.json."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from benchmarks.results import Conditions, Latency, Record, Speedup, Status
from core.artifacts import read_json, write_json
from deploy.targets.base import Precision

FILE_NAME = "sweep.json"


class Point(Record):
    """One engine at one input shape.

    Attributes:
        latency_ms: of the whole batch.
        speedup_vs_fp32: over the FP32 engine of the same backend and shape, timed in turns with it.
    """

    backend: str
    precision: Precision
    batch: int
    height_px: int
    width_px: int
    status: Status
    reason: str = ""
    latency_ms: Latency | None = None
    speedup_vs_fp32: Speedup | None = None

    @property
    def ms_per_image(self) -> float | None:
        """Median latency divided by the batch size."""
        return None if self.latency_ms is None else self.latency_ms.p50 / self.batch

    @property
    def megapixels(self) -> float:
        """Pixels of one image, in millions."""
        return self.height_px * self.width_px / 1e6


class Sweep(Record):
    """Everything sweep.json holds.

    Attributes:
        qdq_sha256: of the run's trained graph; tells whether the sweep belongs to a benchmark's results.
        caveats: what asks for caution with the latencies, in words.
        batches, sizes: one point per engine for each batch size at one resolution; for each resolution at batch 1.
    """

    schema_version: Literal[1] = 1
    run: str
    created: str
    command: str
    threads: int
    qdq_sha256: str
    batches: tuple[Point, ...]
    sizes: tuple[Point, ...]
    conditions: Conditions
    caveats: tuple[str, ...] = ()


def save(sweep: Sweep, folder: Path) -> Path:
    """Write sweep.json atomically; returns its path."""
    target = folder / FILE_NAME
    write_json(target, sweep.model_dump(mode="json"))
    return target


def load(folder: Path) -> Sweep | None:
    """The sweep in `folder`; None when there is none, raises `ValidationError` for one of another version."""
    path = folder / FILE_NAME
    return Sweep.model_validate(read_json(path)) if path.is_file() else None


def engines(points: Iterable[Point]) -> dict[str, Sequence[Point]]:
    """The measured points of each engine, in their order."""
    found: dict[str, list[Point]] = {}
    for point in points:
        if point.latency_ms is not None:
            found.setdefault(f"{point.backend} {point.precision}", []).append(point)
    return dict(found)
