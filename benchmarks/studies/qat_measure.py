"""One row of the QAT table: trains it, builds its engine, and scores that engine and the simulation."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Literal

from benchmarks.measure.accuracy import METHOD_VERSION, Accuracy, evaluate
from benchmarks.record.rows import Record
from benchmarks.studies.qat_rows import RowSpec
from core.config import Config, section_dict
from core.console import say
from core.errors import UserError
from core.files.artifacts import read_json, sha256_file, sha256_json, write_json
from core.files.paths import RunPaths
from core.versions import source_hash
from deploy.bundle.meaning import write_classes
from deploy.bundle.types import Bundle, Precision
from deploy.pipeline import ensure_engine
from deploy.targets import get_backend
from deploy.targets.base import Backend
from qat.data import normalize
from qat.pipeline import float_baseline
from qat.pipeline import run as pipeline
from qat.tasks import dataset_of, task_of, tuning_of

Split = Literal["val", "train", "tuning"]
FP32 = "fp32"  # the reference of agreement and change


class QatRow(Record):
    """The outcome of one row and seed.

    Attributes:
        key: hash of config, FP32 weights and rule set; a row with the same key is not run again.
        split: the split that it is scored on; the simulation is always scored on val.
        engine: scores of the engine, the shipped artifact, beside the FP32 engine that all rows start from.
        simulated_score: of the fake-quantized network in PyTorch, percent; None for rows without quantizers.
        train_minutes: time in optimizer steps, including data loading but not calibration and scoring.
    """

    name: str
    seed: int
    key: str
    split: Split
    backend: str
    precision: Precision
    engine: Accuracy
    simulated_score: float | None
    train_minutes: float


def ensure_row(spec: RowSpec, config: Config, backend: str, base: Config, split: Split) -> QatRow:
    """The cached result of the row, or a new measurement.

    Args:
        config: of this row and seed; it is named after them and starts from FP32 weights in `model.checkpoint`.
        base: config of the run that made these weights; the row is compared with its FP32 engine.
    """
    paths = RunPaths(config.run)
    stored = paths.results / file_name(split)
    assert config.model.checkpoint is not None
    settings = {**section_dict(config), "model": config.model.model_dump(mode="json", exclude={"checkpoint"})}
    key = sha256_json(
        [METHOD_VERSION, settings, sha256_file(config.model.checkpoint), source_hash("deploy", "qat"), backend, split]
    )
    if stored.is_file() and (content := read_json(stored))["key"] == key:
        found = QatRow.model_validate(content)
        say(f"{spec.name} seed {config.fine_tuning_seed}: {found.engine.score:.2f} % (kept)")
        return found
    say(f"{spec.name} seed {config.fine_tuning_seed}: running")
    precision: Precision = "int8" if spec.kind in ("ptq", "qat") else "fp32"
    if spec.kind == "fp32_extra":
        trained = float_baseline.ensure_trained_on(config)
        config = config.model_copy(update={"model": config.model.model_copy(update={"checkpoint": trained})})
    pipeline.ensure_fp32(config)
    if precision == "int8":
        pipeline.ensure_quantized(config)
    row = QatRow(
        name=spec.name,
        seed=config.fine_tuning_seed,
        key=key,
        split=split,
        backend=backend,
        precision=precision,
        engine=_score(config, precision, base, backend, split),
        simulated_score=read_json(paths.simulated_score)["simulated"]["value"] if precision == "int8" else None,
        train_minutes=train_minutes(paths.metrics, config.qat.batch_size) if spec.trains else 0.0,
    )
    write_json(stored, row.model_dump(mode="json"))
    say(f"{spec.name} seed {row.seed}: {row.engine.score:.2f} %")
    return row


def file_name(split: Split) -> str:
    """The file of a row, below the results of its run."""
    return f"qat_row-{split}.json"


def _score(config: Config, precision: Precision, base: Config, name: str, split: Split) -> Accuracy:
    backend = get_backend(name)
    tuning = tuning_of(config) if split == "tuning" else None
    data = tuning.dataset if tuning else dataset_of(config, "train" if split == "train" else "val")
    for run in (config.run, base.run):  # engines need class names, which the QAT stage writes where the row has one
        write_classes(RunPaths(run).classes, data.class_names, data.colors)
    with (
        backend.open(_engine(config, backend, precision)) as session,
        backend.open(_engine(base, backend, "fp32")) as fp32,
    ):
        prepare, classes = partial(normalize, cfg=config.data), config.model.num_classes
        sessions, groups = {config.run: session}, tuning.groups if tuning else None
        return evaluate(sessions, {FP32: fp32}, data, prepare, classes, task_of(config), groups)[config.run]


def _engine(config: Config, backend: Backend, precision: Precision) -> Bundle:
    paths = RunPaths(config.run)
    data = dataset_of(config, "val")
    write_classes(paths.classes, data.class_names, data.colors)  # a row without quantizers has had no QAT stage
    outcome = ensure_engine(config, paths, backend, precision)
    if outcome.bundle is None:
        raise UserError(f"no {backend.name} {precision} engine of {config.run}", why=outcome.reason)
    return outcome.bundle


def train_minutes(metrics: Path, global_batch: int) -> float:
    """Minutes of the fine-tuning steps in `metrics`; steps that a resumed run repeats count once."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    rates = [line["images_per_s"] for line in lines if line["stage"] == "qat" and "images_per_s" in line]
    return sum(global_batch / rate for rate in rates) / 60
