"""Cost curves: latency of FP32 and INT8 over batch size and over resolution.

python benchmarks/sweep.py --config FILE [--set a.b=c] [--json] [--debug]
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

if __name__ == "__main__":  # run as a file: Python looks in benchmarks/ only, and may not be the project's own
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from core.bootstrap import use_project_environment

    use_project_environment()

import numpy as np

from benchmarks import conditions, curve, results, timing
from benchmarks.curve import Point, Sweep
from core.artifacts import sha256_file
from core.cli import add_config_options, config_from, reproducing
from core.config import Config
from core.console import say
from core.errors import UserError, run_cli
from core.paths import RunPaths
from deploy.pipeline import build_options
from deploy.targets import get_backend
from deploy.targets.base import Backend, Precision, Session
from deploy.tuning.timing import time_in_turns

Shape = tuple[int, int, int]  # batch, height px, width px
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python benchmarks/sweep.py", description="Cost curves of FP32 and INT8.")
    add_config_options(parser)
    parser.add_argument("--json", action="store_true", help="print sweep.json instead of a line per point")
    arguments = parser.parse_args()

    def command() -> None:
        config = config_from(arguments)
        found = sweep(config, shlex.join(["python", "benchmarks/sweep.py", *reproducing(arguments)]))
        render_again(config.run)
        if arguments.json:
            print(found.model_dump_json(indent=2))
        else:
            print("\n".join(lines(found)))

    return run_cli(command, debug=arguments.debug)


def render_again(run: str) -> None:
    """Put the new curves into the run's report, if it has been benchmarked."""
    from benchmarks.report import write_report

    folder = RunPaths(run).results
    if (folder / results.FILE_NAME).is_file():
        say(f"report: {write_report(results.load(run), folder)}")


def sweep(config: Config, command: str) -> Sweep:
    """Time the run's trained network at every shape that `bench.sweep` names, and write sweep.json.

    Raises:
        UserError: the run has not been trained yet.
    """
    paths, plan = RunPaths(config.run), config.bench.sweep
    if not paths.qat_checkpoint.is_file():
        raise UserError(f"no {paths.qat_checkpoint}", why="the QAT stage has not run", fix="run `make qat`")
    own = (config.data.height_px, config.data.width_px)
    wanted = [(batch, *own) for batch in plan.batches], [(1, *size) for size in plan.sizes_px]
    before = conditions.look()
    at = {shape: measure_at(config, paths, shape) for shape in dict.fromkeys((*wanted[0], *wanted[1]))}
    by_batch, by_size = (tuple(point for shape in shapes for point in at[shape]) for shapes in wanted)
    meanwhile = conditions.between(before, conditions.look())
    latencies = [point.latency_ms for points in at.values() for point in points if point.latency_ms is not None]
    found = Sweep(
        run=config.run,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=command,
        threads=config.bench.threads,
        qdq_sha256=sha256_file(paths.qdq_onnx),
        batches=by_batch,
        sizes=by_size,
        conditions=meanwhile,
        caveats=(*conditions.unsteady(latencies), *conditions.disturbances(meanwhile)),
    )
    say(f"sweep: {curve.save(found, paths.results)}")
    return found


def measure_at(config: Config, paths: RunPaths, shape: Shape) -> list[Point]:
    """FP32 and INT8 of every backend of the sweep at one shape; their engines are not kept."""
    from benchmarks.reshape import export_at  # brings torch: a wrong option or config is told before that loads

    say(f"sweep: {' × '.join(map(str, shape))} px")
    backends = [get_backend(name) for name in config.bench.sweep.backends]
    with tempfile.TemporaryDirectory(dir=paths.dir, prefix=".sweep.") as name:
        try:
            sources = export_at(config, paths, shape, {backend.target for backend in backends}, Path(name))
        except Exception as error:  # the exporter and the network raise what they like at shapes they do not take
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            say(f"sweep: {shape} failed: {reason}")
            engines = ((backend.name, precision) for backend in backends for precision in PRECISIONS)
            return [_point(backend, precision, shape, "failed", reason) for backend, precision in engines]
        return [point for backend in backends for point in _pair(config, backend, sources, shape, Path(name))]


def _pair(config: Config, backend: Backend, sources: dict[str, Path], shape: Shape, folder: Path) -> Iterator[Point]:
    """FP32 and INT8 of one backend, timed in turns; what goes wrong with one becomes its point's status and reason."""
    sessions: dict[str, Session] = {}
    failed: list[Point] = []
    with ExitStack() as stack:
        for precision in PRECISIONS:
            missing = backend.available(precision) or backend.runnable(precision)
            if missing is not None:
                failed.append(_point(backend.name, precision, shape, "unavailable", missing.why))
                continue
            options = build_options(config, backend, precision)
            fixed = {key: value for key, value in options.trt.items() if key != "batch"}  # the graph says which
            try:
                source = sources[backend.target if precision == "int8" else "fp32"]
                bundle = backend.build(source, folder / f"{backend.name}-{precision}", replace(options, trt=fixed))
                sessions[precision] = stack.enter_context(backend.open(bundle))
            except Exception as error:  # a vendor's builder may raise anything; the other points go on
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                failed.append(_point(backend.name, precision, shape, "failed", reason))
        yield from _timed(config, backend.name, sessions, shape)
    yield from failed


def _timed(config: Config, backend: str, sessions: dict[str, Session], shape: Shape) -> Iterator[Point]:
    batch, height, width = shape
    image = np.random.default_rng(config.seed).standard_normal((batch, 3, height, width), dtype=np.float32)
    named = {f"{backend} {precision}": session for precision, session in sessions.items()}
    feeds = {name: {session.input_names[0]: image} for name, session in named.items()}
    rounds = {"rounds": config.bench.sweep.rounds, "runs_per_round": config.bench.sweep.runs_per_round}
    samples = time_in_turns(named, feeds, config.bench.model_copy(update=rounds))
    fp32 = samples.get(f"{backend} fp32")
    for precision, own in zip(sessions, samples.values(), strict=True):
        ratio = timing.speedup(fp32, own) if precision != "fp32" and fp32 is not None else None
        point = _point(backend, precision, shape, "ok", "")
        yield point.model_copy(update={"latency_ms": timing.summarize(own), "speedup_vs_fp32": ratio})


def _point(backend: str, precision: str, shape: Shape, status: str, reason: str) -> Point:
    batch, height, width = shape
    return Point.model_validate(
        {
            **{"backend": backend, "precision": precision, "status": status, "reason": reason},
            **{"batch": batch, "height_px": height, "width_px": width},
        }
    )


def lines(found: Sweep) -> Iterable[str]:
    """One line per point: shape, engine, time per image; then what asks for caution."""
    for title, points in (("batch size", found.batches), ("resolution", found.sizes)):
        yield title
        for point in points:
            what = f"  {point.batch:>3} × {point.height_px}×{point.width_px}  {point.backend} {point.precision}"
            per_image, ratio = point.ms_per_image, point.speedup_vs_fp32
            took = f"{point.status}: {point.reason}" if per_image is None else f"{per_image:9.2f} ms per image"
            speed = "" if ratio is None else f"  {ratio.value:.2f}× [{ratio.low:.2f}, {ratio.high:.2f}]"
            yield f"{what:<42}{took}{speed}"
    yield from (f"caution: {caveat}" for caveat in found.caveats)


if __name__ == "__main__":
    sys.exit(main())
