"""What a comparison with other toolkits found: the models of peers.json."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from benchmarks.results import Environment, Latency, Record, Speedup, Status
from core.artifacts import read_json, write_json
from deploy.targets.base import Precision

FILE_NAME = "peers.json"
OURS = "ours"  # the tool of this project's INT8 rows


class PeerRow(Record):
    """One engine of the comparison.

    Attributes:
        tool: a peer's name, "ours", or for a float engine its precision.
        asked: what the peer was asked to do; empty for engines of this project.
        status, reason, engine_size_bytes, convs_total, convs_int8: as in results.json.
        miou, delta_miou, per_class_iou: percent; the difference is to the FP32 engine of the same backend.
        ours_over_this: p50 of our INT8 engine over p50 of this one, same backend; below 1 ours is faster.
    """

    tool: str
    backend: str
    precision: Precision
    status: Status
    asked: str = ""
    reason: str = ""
    engine_size_bytes: int | None = None
    convs_total: int | None = None
    convs_int8: int | None = None
    latency_ms: Latency | None = None
    ours_over_this: Speedup | None = None
    miou: float | None = None
    delta_miou: float | None = None
    per_class_iou: dict[str, float | None] | None = None

    @property
    def name(self) -> str:
        """`backend tool`, as tables show it."""
        return f"{self.backend} {self.tool}"

    @property
    def is_peer(self) -> bool:
        """Whether another toolkit quantized it."""
        return self.precision == "int8" and self.tool != OURS


class PeerResults(Record):
    """Everything peers.json holds.

    Attributes:
        created: UTC, ISO 8601.
        versions: of the toolkits that took part, by distribution.
        val_images: how many images mIoU was computed on.
        calibration_images: how many each toolkit was given.
        max_drop_points: a peer that loses more mIoU than this is no opponent.
        caveats: what about the machine or the samples asks for caution.
    """

    schema_version: Literal[1] = 1
    run: str
    created: str
    command: str
    config: dict[str, Any]
    environment: Environment
    versions: dict[str, str]
    val_images: int
    calibration_images: int
    max_drop_points: float
    caveats: tuple[str, ...]
    rows: tuple[PeerRow, ...]


def backends_of(rows: Iterable[PeerRow]) -> list[str]:
    """Names of the backends, in the rows' order."""
    return list(dict.fromkeys(row.backend for row in rows))


def ours_on(rows: Iterable[PeerRow], backend: str) -> PeerRow | None:
    """Our INT8 row of a backend."""
    return next((row for row in rows if row.backend == backend and row.tool == OURS), None)


def best_peer(rows: Iterable[PeerRow], backend: str, max_drop_points: float) -> PeerRow | None:
    """The fastest measured peer of a backend among those that keep mIoU within the limit."""
    able = [
        row
        for row in rows
        if row.backend == backend and row.is_peer and row.delta_miou is not None and row.delta_miou >= -max_drop_points
    ]
    return _fastest(able)


def best_float(rows: Iterable[PeerRow], backend: str) -> PeerRow | None:
    """The fastest measured float engine of a backend."""
    return _fastest([row for row in rows if row.backend == backend and row.precision != "int8"])


def _fastest(rows: Sequence[PeerRow]) -> PeerRow | None:
    timed = [(row.latency_ms.p50, row) for row in rows if row.latency_ms is not None]
    return min(timed, key=lambda pair: pair[0])[1] if timed else None


def save(results: PeerResults, folder: Path) -> Path:
    """Write peers.json atomically; returns its path."""
    target = folder / FILE_NAME
    write_json(target, results.model_dump(mode="json"))
    return target


def load_if_any(folder: Path) -> PeerResults | None:
    """The last comparison in a run's results; None when there is none, or another version of this project wrote it."""
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    try:
        return PeerResults.model_validate(read_json(path))
    except ValidationError:
        return None
