"""The files below `benchmarks/results/<run>/`: results.json, baselines.json, cost_curves.json."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field, ValidationError

from benchmarks.record.details import Conditions, Environment, Examples, Layer, NamedColor, Placed
from benchmarks.record.rows import Point, Record, Row
from core.cli.naming import command
from core.config.schema_errors import problems
from core.errors import UserError
from core.files.artifacts import read_json, write_json
from core.files.paths import RunPaths
from core.nearest import path_hint
from deploy.checks.layer_snr import LayerSnr

File = TypeVar("File", bound="ResultFile")


def now() -> str:
    """This moment: UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class ResultFile(Record):
    """Common to the files.

    Attributes:
        created: UTC, ISO 8601.
        command: shell command that makes these numbers again.
        config: the resolved run config.
        caveats: reasons for caution with the latencies, in words.
    """

    FILE: ClassVar[str]

    schema_version: Literal[2] = 2
    run: str
    created: str = Field(default_factory=now)
    command: str
    config: dict[str, Any]
    environment: Environment
    conditions: Conditions | None = None
    caveats: tuple[str, ...] = ()

    def save(self) -> Path:
        """Write the file atomically among the run's results; returns its path."""
        target = RunPaths(self.run).results / self.FILE
        write_json(target, self.model_dump(mode="json"))
        return target


class Results(ResultFile):
    """results.json: every engine of a run.

    Attributes:
        artifacts: SHA-256 of every file the numbers come from, by path.
        val_images: the number of images that accuracy was computed on.
        layers: layers by time, slowest first, by row name; only of backends with a profiler.
        noise: layers by SNR against FP32, lowest first, of the graphs that measured INT8 engines were built from, by
            row name.
        placement: of each target that engines were built for.
        decision: why the PTQ or the trained network ships, as the QAT stage said.
    """

    FILE: ClassVar[str] = "results.json"

    artifacts: dict[str, str]
    classes: tuple[NamedColor, ...]
    val_images: int
    rows: tuple[Row, ...]
    examples: Examples | None = None
    layers: dict[str, tuple[Layer, ...]] = Field(default={})
    noise: dict[str, tuple[LayerSnr, ...]] = Field(default={})
    placement: dict[str, Placed] = Field(default={})
    decision: str = ""


class Comparison(ResultFile):
    """baselines.json: this project's engines beside the engines of other toolkits.

    Attributes:
        versions: of the toolkits that took part, by distribution.
        val_images: the number of images that accuracy was computed on.
        calibration_images: the number that each toolkit read.
        max_drop_points: a baseline that loses more of the task's metric than this is left out of verdicts.
    """

    FILE: ClassVar[str] = "baselines.json"

    versions: dict[str, str]
    val_images: int
    calibration_images: int
    max_drop_points: float
    rows: tuple[Row, ...]


class CostCurves(ResultFile):
    """cost_curves.json: latency over batch size and over resolution.

    Attributes:
        qdq_sha256: of the run's trained graph, to see if the curves belong to a benchmark's results.
        batches, sizes: one point per engine for each batch size at one resolution; for each resolution at batch 1.
    """

    FILE: ClassVar[str] = "cost_curves.json"

    qdq_sha256: str
    batches: tuple[Point, ...]
    sizes: tuple[Point, ...]


def load_if_any(kind: type[File], run: str) -> File | None:
    """The run's last file of that kind; None when there is none, or another version of this project wrote it."""
    try:
        return kind.model_validate(read_json(RunPaths(run).results / kind.FILE))
    except (FileNotFoundError, ValidationError):
        return None


def load(run: str) -> Results:
    """The last results of a run.

    Raises:
        UserError: there are none, or another version of this project wrote them.
    """
    path = RunPaths(run).results / Results.FILE
    remeasure = f"run `{command('bench')} --config FILE` with the run's config"
    if not path.is_file():
        fix = path_hint(path, remeasure)
        raise UserError(f"run {run!r} has no benchmark results", why=f"{path} does not exist", fix=fix)
    try:
        return Results.model_validate(read_json(path))
    except ValidationError as error:
        raise UserError(f"{path} cannot be read", why=problems(error, Results)[0], fix=remeasure) from error
