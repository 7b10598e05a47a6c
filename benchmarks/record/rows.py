"""One measured engine as a row; runs, comparisons with baselines and cost curves share it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from core.interval import Interval
from deploy.bundle.types import Precision
from deploy.targets import title_of
from deploy.targets.layer_work import EngineWork

Status = Literal["ok", "failed", "unavailable"]


class Record(BaseModel):
    """Base of the models: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Latency(Record):
    """Milliseconds per inference.

    Attributes:
        cv: coefficient of variation, standard deviation / mean.
        drift: change of the median from the first third of the rounds to the last, as a share.
    """

    p50: float
    p90: float
    p99: float
    mean: float
    cv: float
    drift: float = 0.0


class Throughput(Record):
    """Images per second with every CPU busy: `requests` inferences at a time on `threads` threads in total."""

    images_per_s: float
    requests: int
    threads: int
    images: int


class ImageToMask(Record):
    """The image → mask engine, with normalisation, upsampling and argmax inside.

    Attributes:
        cost: its time divided by that of the network alone, measured in the same rounds.
        pixel_agreement: percent of pixels with the same class as with preparing and upsampling outside.
    """

    latency_ms: Latency
    cost: Interval
    pixel_agreement: float


class Timed(Record):
    """One backend at one precision, with its latency.

    Attributes:
        status: "ok", measured; "failed"; "unavailable", it cannot be built or run on this machine.
        reason: why the status is not "ok", and a fix.
        product: the backend's name for people, such as "TensorRT-RTX" of `tensorrt_rtx`.
        speedup_vs_fp32: over the FP32 engine of the same backend.
    """

    backend: str
    precision: Precision
    status: Status
    reason: str = ""
    product: str = ""
    latency_ms: Latency | None = None
    speedup_vs_fp32: Interval | None = None

    @property
    def engine(self) -> str:
        """The backend as tables show it."""
        return self.product or title_of(self.backend)

    @property
    def name(self) -> str:
        """`engine precision`, unique among the rows of one file."""
        return f"{self.engine} {self.precision}"


class Row(Timed):
    """One engine with all its measurements.

    Attributes:
        tool: the baseline that quantized it; empty for engines of this project.
        settings: the baseline's call and its settings.
        engine_sha256: of the whole bundle.
        convs_total, convs_int8: convolutions of the built engine, and those with an INT8 kernel.
        work: fused epilogues, bytes moved and multiply-adds of the built engine.
        throughput_per_s: images per second, one at a time.
        throughput: images per second with all CPUs busy; None where it was not measured.
        fastest_float: precision of the fastest float engine of the same backend, and `speedup_vs_float` over it; for
            INT8.
        ours_over_this: time of this project's INT8 engine over this one's, same backend; below 1 ours is faster.
        metric, score, per_class: the task's metric and its value, percent, over the validation set; None for a class
            it lacks.
        values: all values of the task by name, percent, with intervals over images.
        delta_score: points above the FP32 engine of the same backend, with its interval over images (see
            `benchmarks.measure.accuracy.Accuracy`); negative is a loss.
        agreement_fp32: percent of all answers (pixels, or images) that equal the same backend's FP32 engine's.
        agreement_simulated: for INT8, the same against the trained fake-quantized network.
    """

    tool: str = ""
    settings: str = ""
    engine_size_bytes: int | None = None
    engine_sha256: str | None = None
    convs_total: int | None = None
    convs_int8: int | None = None
    work: EngineWork | None = None
    throughput_per_s: float | None = None
    throughput: Throughput | None = None
    fastest_float: Precision | None = None
    speedup_vs_float: Interval | None = None
    ours_over_this: Interval | None = None
    metric: str = "mIoU"
    score: float | None = None
    values: dict[str, Interval] | None = None
    delta_score: Interval | None = None
    per_class: dict[str, float | None] | None = None
    agreement_fp32: float | None = None
    agreement_simulated: float | None = None
    image_to_mask: ImageToMask | None = None

    @property
    def name(self) -> str:
        """`engine precision`, or `engine tool` for a baseline."""
        return f"{self.engine} {self.tool or self.precision}"

    @property
    def is_ours(self) -> bool:
        """Return True for the INT8 engines of this project."""
        return self.precision == "int8" and not self.tool


class Point(Timed):
    """One engine at one input shape; `latency_ms` is of the whole batch."""

    batch: int
    height_px: int
    width_px: int

    @property
    def ms_per_image(self) -> float | None:
        """Median latency divided by the batch size."""
        return None if self.latency_ms is None else self.latency_ms.p50 / self.batch

    @property
    def megapixels(self) -> float:
        """Pixels of one image, in millions."""
        return self.height_px * self.width_px / 1e6


AnyTimed = TypeVar("AnyTimed", bound=Timed)


def find_row(rows: Iterable[Row], backend: str, precision: str) -> Row | None:
    """The row of one engine of this project; None when it is missing."""
    return next((row for row in rows if (row.backend, row.precision, row.tool) == (backend, precision, "")), None)


def fastest(rows: Iterable[AnyTimed]) -> AnyTimed | None:
    """The row of the lowest p50; None when none was timed."""
    timed = [(row.latency_ms.p50, row) for row in rows if row.latency_ms is not None]
    return min(timed, key=lambda pair: pair[0])[1] if timed else None


def fastest_int8(rows: Iterable[Row]) -> Row | None:
    """The INT8 engine to recommend: the fastest one with an FP32 engine of the same backend."""
    return fastest(row for row in rows if row.is_ours and row.speedup_vs_fp32 is not None)


def best_baseline(rows: Iterable[Row], backend: str, max_drop_points: float) -> Row | None:
    """The fastest baseline of a backend that keeps the metric within the limit."""
    return fastest(
        row
        for row in rows
        if row.backend == backend and row.tool and row.delta_score and row.delta_score.value >= -max_drop_points
    )


def best_float(rows: Iterable[Row], backend: str) -> Row | None:
    """The fastest float engine of a backend."""
    return fastest(row for row in rows if row.backend == backend and row.precision != "int8")
