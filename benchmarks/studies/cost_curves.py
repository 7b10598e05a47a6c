"""Latency of FP32 and INT8 over batch size and over resolution, at shapes that a run was not exported for."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.measure import conditions, environment, latency
from benchmarks.record.files import CostCurves
from benchmarks.record.rows import Point, Status
from benchmarks.record.table import times_faster
from benchmarks.studies.reshape import export_at
from core.cli.naming import by_make
from core.cli.text_table import Table
from core.config import Config, section_dict
from core.console import say
from core.errors import UserError, one_line
from core.files.artifacts import sha256_file
from core.files.paths import RunPaths
from deploy.bundle.types import Precision
from deploy.pipeline import build_options
from deploy.targets import get_backend
from deploy.targets.base import Backend, Session
from deploy.tuning.timing import Samples, paired_ratio, time_in_turns

Shape = tuple[int, int, int]  # batch, height px, width px
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")


def sweep(config: Config, command: str) -> CostCurves:
    """Time the run's trained network at every shape of `bench.sweep`, and write cost_curves.json.

    Args:
        command: shell command that does this again.

    Raises:
        UserError: the run has not been trained yet.
    """
    paths, plan = RunPaths(config.run), config.bench.sweep
    if not paths.qat_checkpoint.is_file():
        raise UserError(
            f"no {paths.qat_checkpoint}",
            why="the QAT stage has not run",
            fix=f"run `{by_make('qat')}` with the same config",
        )
    machine = environment.describe()
    own = (config.data.height_px, config.data.width_px)
    wanted = [(batch, *own) for batch in plan.batches], [(1, *size) for size in plan.sizes_px]
    before = conditions.look()
    at = {shape: measure_at(config, paths, shape) for shape in dict.fromkeys((*wanted[0], *wanted[1]))}
    by_batch, by_size = (tuple(point for shape in shapes for point in at[shape]) for shapes in wanted)
    meanwhile = conditions.between(before, conditions.look())
    latencies = [point.latency_ms for points in at.values() for point in points if point.latency_ms is not None]
    found = CostCurves(
        run=config.run,
        command=command,
        config=section_dict(config),
        environment=machine,
        conditions=meanwhile,
        caveats=(*conditions.unsteady(latencies), *conditions.disturbances(meanwhile)),
        qdq_sha256=sha256_file(paths.qdq_onnx),
        batches=by_batch,
        sizes=by_size,
    )
    say(f"cost curves: {found.save()}")
    return found


def measure_at(config: Config, paths: RunPaths, shape: Shape) -> list[Point]:
    """FP32 and INT8 of every backend of the sweep at one shape; their engines are not kept."""
    say(f"sweep: {' × '.join(map(str, shape))} px")
    backends = [get_backend(name) for name in config.bench.sweep.backends]
    pairs = {backend.name: [_point(backend, precision, shape) for precision in PRECISIONS] for backend in backends}
    with tempfile.TemporaryDirectory(dir=paths.dir, prefix=".sweep.") as name:
        try:
            sources = export_at(config, paths, shape, {backend.target for backend in backends}, Path(name))
        except Exception as error:  # the exporter and the network raise what they like at shapes they do not take
            say(f"sweep: {shape} failed: {one_line(error)}")
            return [_with(point, "failed", one_line(error)) for pair in pairs.values() for point in pair]
        measured = [_timed(config, backend, pairs[backend.name], sources, Path(name)) for backend in backends]
        return [point for pair in measured for point in pair]


def _timed(
    config: Config, backend: Backend, points: Sequence[Point], sources: Mapping[str, Path], folder: Path
) -> list[Point]:
    """The points of one backend, timed in turns; an error of one becomes its status and reason."""
    sessions: dict[str, Session] = {}
    built: list[Point] = []
    with ExitStack() as stack:
        for point in points:
            missing = backend.available(point.precision) or backend.runnable(point.precision)
            if missing is not None:
                built.append(_with(point, "unavailable", missing.why))
                continue
            options = build_options(config, backend, point.precision)
            fixed = {key: value for key, value in options.tensorrt.items() if key != "batch"}  # the graph has its own
            try:
                source = sources[backend.target if point.precision == "int8" else "fp32"]
                out = folder / f"{backend.name}-{point.precision}"
                bundle = backend.build(source, out, replace(options, tensorrt=fixed))
                sessions[point.name] = stack.enter_context(backend.open(bundle))
                built.append(point)
            except Exception as error:  # a vendor's builder may raise anything; the other points go on
                built.append(_with(point, "failed", one_line(error)))
        shape = (points[0].batch, 3, points[0].height_px, points[0].width_px)
        image = np.random.default_rng(config.seed).standard_normal(shape, dtype=np.float32)
        feeds = {name: {session.input_names[0]: image} for name, session in sessions.items()}
        rounds = {"rounds": config.bench.sweep.rounds, "runs_per_round": config.bench.sweep.runs_per_round}
        samples = time_in_turns(sessions, feeds, config.bench.model_copy(update=rounds))
    return [_completed(point, samples) if point.name in samples else point for point in built]


def _completed(point: Point, samples: Mapping[str, Samples]) -> Point:
    own, fp32 = samples[point.name], samples.get(f"{point.engine} fp32")
    ratio = None if fp32 is None or point.precision == "fp32" else paired_ratio(fp32, own)
    return point.model_copy(update={"latency_ms": latency.summarize(own), "speedup_vs_fp32": ratio})


def _point(backend: Backend, precision: Precision, shape: Shape) -> Point:
    batch, height, width = shape
    where = {"batch": batch, "height_px": height, "width_px": width}
    return Point.model_validate({"backend": backend.name, "precision": precision, "status": "ok", **where})


def _with(point: Point, status: Status, reason: str) -> Point:
    return point.model_copy(update={"status": status, "reason": reason})


def table_of(found: CostCurves) -> Table:
    """One line per point, the batch sizes first: shape, engine, time per image, speed."""
    rows = []
    for point in (*found.batches, *found.sizes):
        ms, speed = point.ms_per_image, point.speedup_vs_fp32
        took = f"{point.status}: {point.reason}" if ms is None else f"{ms:.2f}"
        shape = f"{point.batch} × {point.height_px}×{point.width_px}"
        rows.append((point.name, shape, took, "" if speed is None else times_faster(speed)))
    return Table(("engine", "batch × px", "ms per image", "speed vs FP32"), rows)
