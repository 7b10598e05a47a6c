"""What a benchmark found: the models of results.json."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from core.artifacts import read_json, write_json
from core.errors import UserError
from core.paths import RunPaths
from deploy.targets.base import Precision

FILE_NAME = "results.json"

Status = Literal["ok", "built", "failed", "unavailable"]


class Record(BaseModel):
    """Base of the models: frozen, and a key nobody knows is an error."""

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


class Interval(Record):
    """95 % interval of a number that is given beside it."""

    low: float
    high: float


class Throughput(Record):
    """Images per second with every CPU busy: `requests` inferences at a time on `threads` threads in all."""

    images_per_s: float
    requests: int
    threads: int
    images: int


class Speedup(Record):
    """How many times faster than a baseline, with a bootstrap 95 % interval."""

    value: float
    low: float
    high: float


class FloatSpeedup(Speedup):
    """Speed-up over the fastest float engine of the same backend."""

    baseline: Precision


class EndToEnd(Record):
    """The engine from image to mask: normalisation, upsampling and argmax inside.

    Attributes:
        cost: its time over that of the network alone, measured in the same rounds.
        pixel_agreement: percent of pixels that get the class which preparing and upsampling outside gives.
    """

    latency_ms: Latency
    cost: Speedup
    pixel_agreement: float


class Row(Record):
    """One engine: a backend at a precision.

    Attributes:
        status: "ok" measured; "built" but not runnable here; "failed"; "unavailable" on this machine.
        reason: why the status is not "ok".
        engine_sha256: of the whole bundle.
        convs_total, convs_int8: convolutions of the built engine, and those whose kernel computes in INT8.
        throughput_per_s: images per second, one at a time.
        throughput: images per second, as many at a time as the machine takes; None where it was not measured.
        speedup_vs_fp32: over the FP32 engine of the same backend.
        speedup_vs_float: over the fastest float engine of the same backend, for INT8.
        miou, pixel_accuracy, per_class_iou: percent, over the validation set; None for a class it lacks.
        delta_miou: points above the FP32 engine of the same backend; negative is a loss.
        delta_miou_95: its interval over images, see `benchmarks.accuracy.Accuracy`.
        pixel_agreement_fp32: percent of all pixels that get the class the FP32 engine of the same backend gives.
        pixel_agreement_simulated: for INT8, the same against the fake-quantized network that was trained.
    """

    backend: str
    precision: Precision
    status: Status
    reason: str = ""
    engine_size_bytes: int | None = None
    engine_sha256: str | None = None
    convs_total: int | None = None
    convs_int8: int | None = None
    latency_ms: Latency | None = None
    throughput_per_s: float | None = None
    throughput: Throughput | None = None
    speedup_vs_fp32: Speedup | None = None
    speedup_vs_float: FloatSpeedup | None = None
    miou: float | None = None
    delta_miou: float | None = None
    delta_miou_95: Interval | None = None
    per_class_iou: dict[str, float | None] | None = None
    pixel_accuracy: float | None = None
    pixel_agreement_fp32: float | None = None
    pixel_agreement_simulated: float | None = None
    end_to_end: EndToEnd | None = None

    @property
    def name(self) -> str:
        """`backend precision`, as tables show it."""
        return f"{self.backend} {self.precision}"


class LayerCost(Record):
    """One layer of a built engine; `kind` is "Conv" for every convolution, `ms` is from the vendor's profiler."""

    name: str
    kind: str
    precision: str
    ms: float


class LayerNoise(Record):
    """One layer of a quantized graph; `snr_db` is of its output against the FP32 graph's, on calibration images."""

    name: str
    snr_db: float


class Skipped(Record):
    """A node that a placement rule left in float, and why."""

    node: str
    rule: str
    why: str


class Placed(Record):
    """What was quantized where: activations by the rule that asked for it, weights, and every skip."""

    activations: dict[str, int]
    weights: int
    skips: tuple[Skipped, ...]


class NamedColor(Record):
    """One entry of a legend: a class or a kind of difference, and its RGB colour."""

    name: str
    color: tuple[int, int, int]


class StripItem(Record):
    """One validation image of the report: PNG file names relative to results.json, agreement in percent of pixels."""

    name: str
    image: str
    label: str
    fp32: str
    int8: str
    difference: str
    pixel_agreement: float


class Strip(Record):
    """Example images, with the masks of one backend's FP32 and INT8 engines; `legend` is of the difference pictures."""

    backend: str
    legend: tuple[NamedColor, ...]
    items: tuple[StripItem, ...]


class Environment(Record):
    """Where the numbers were measured.

    Attributes:
        cpu_flags: instruction-set extensions that matter to inference kernels.
        cpu_cores, cpu_threads: physical cores of the machine; logical ones this process may use.
        load_1min: load average when the benchmark began; well above zero means the machine was not quiet.
        variables: environment variables that change timing, where set.
    """

    cpu: str
    cpu_flags: tuple[str, ...]
    cpu_cores: int
    cpu_threads: int
    load_1min: float | None
    gpu: str | None
    os: str
    python: str
    packages: dict[str, str]
    variables: dict[str, str]


class MachineState(Record):
    """The machine at one moment; clocks are means over all CPUs, of the first GPU.

    Attributes:
        at_s: monotonic clock.
        own_cpu_s, busy_cpu_s: CPU time of this process so far; of all processes since boot.
    """

    at_s: float
    load_1min: float | None
    cpu_mhz: float | None
    gpu_mhz: float | None
    process_threads: int | None
    own_cpu_s: float
    busy_cpu_s: float | None


class Conditions(Record):
    """The machine before and after engines were measured, and the CPUs that other processes kept busy meanwhile."""

    before: MachineState
    after: MachineState
    others_cpus: float | None


class Results(Record):
    """Everything results.json holds.

    Attributes:
        created: UTC, ISO 8601.
        command: shell command that makes these numbers again.
        config: the resolved run config.
        artifacts: SHA-256 of every file the numbers come from, by path.
        val_images: how many images mIoU was computed on.
        caveats: what asks for caution with the latencies, in words.
        layers: layers by time, slowest first, of the engines that tell it, by row name.
        noise: layers by SNR against FP32, lowest first, of the graphs that measured INT8 engines were built from, by
            row name.
        placement: of each target that engines were built from.
    """

    schema_version: Literal[1] = 1
    run: str
    created: str
    command: str
    config: dict[str, Any]
    environment: Environment
    artifacts: dict[str, str]
    classes: tuple[NamedColor, ...]
    val_images: int
    rows: tuple[Row, ...]
    strip: Strip | None = None
    conditions: Conditions | None = None
    caveats: tuple[str, ...] = ()
    layers: dict[str, tuple[LayerCost, ...]] = {}
    noise: dict[str, tuple[LayerNoise, ...]] = {}
    placement: dict[str, Placed] = {}


def find_row(rows: Iterable[Row], backend: str, precision: str) -> Row | None:
    """The row of one engine."""
    return next((row for row in rows if (row.backend, row.precision) == (backend, precision)), None)


def fastest_int8(rows: Iterable[Row]) -> Row | None:
    """The INT8 engine to put forward: the fastest one that has an FP32 engine beside it."""
    measured = [
        (row.latency_ms.p50, row)
        for row in rows
        if row.precision == "int8" and row.latency_ms is not None and row.speedup_vs_fp32 is not None
    ]
    return min(measured, key=lambda pair: pair[0])[1] if measured else None


def save(results: Results, folder: Path) -> Path:
    """Write results.json atomically; returns its path."""
    target = folder / FILE_NAME
    write_json(target, results.model_dump(mode="json"))
    return target


def load(run: str) -> Results:
    """The last results of a run.

    Raises:
        UserError: there are none, or another version of this project wrote them.
    """
    path = RunPaths(run).results / FILE_NAME
    remeasure = "run `python benchmarks/run.py --config FILE` with the run's config"
    if not path.is_file():
        raise UserError(f"run {run!r} has no benchmark results", why=f"{path} does not exist", fix=remeasure)
    try:
        return Results.model_validate(read_json(path))
    except ValidationError as error:
        raise UserError(f"{path} cannot be read", why=str(error.errors()[0]["msg"]), fix=remeasure) from error
