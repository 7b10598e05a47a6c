"""`python -m deploy quantize`: from an ONNX file and pictures to engines and one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import onnxruntime

from core.cli.naming import command as command_line
from core.config import BenchConfig
from core.console import say, track
from core.errors import GateMissed, UnsupportedEnvironment, UserError, last_line
from core.files.image_file import read_image
from deploy.apps.quantize.budget import Budget, within
from deploy.apps.quantize.choose import Chooser, Recipe, Trial, shown
from deploy.apps.quantize.compare import Candidate, Exam, Row, compare
from deploy.apps.quantize.engines import Workshop, chosen_backends
from deploy.apps.quantize.labels import Labels, read_labels
from deploy.apps.quantize.network import PictureInput, chosen_size, float_network, picture_input
from deploy.apps.quantize.options import Options
from deploy.apps.quantize.pictures import READY, Parts, Pictures, Prepare, picture_files, ready_inputs, split
from deploy.apps.quantize.result import Result
from deploy.bundle.types import BuildOptions
from deploy.checks.fidelity import Tensors, fidelity
from deploy.graph import onnx_graph
from deploy.graph.debug_session import watching
from deploy.hardware.machine import require_threads
from deploy.placement.patterns import require_each_names
from deploy.plan.plan import QuantizationPlan, write_plan
from deploy.targets.base import Backend

SAME_NETWORK_DB = 40.0  # half-precision sources round; a network that was read wrongly is far below
WARMUP_MS = 2000


@dataclass(frozen=True)
class Task:
    """A network and its pictures, read and checked; nothing is written yet.

    Attributes:
        told: decisions made for the user.
        references: outputs of FP32 on the pictures to choose by and to test on.
    """

    graph: gs.Graph
    input: PictureInput
    size: tuple[int, int]
    parts: Parts
    told: dict[str, str]
    labels: Labels | None
    choose: Sequence[Tensors]
    test: Sequence[Tensors]


Others = Callable[[Task, Workshop], Iterable[Candidate]]


def quantize(options: Options, command: str = "", others: Others = lambda *_: ()) -> Result:
    """Read, calibrate, build and compare; everything is written to `options.out`.

    Args:
        command: the command that the result file records.
        others: makes further engines of the same network, to be compared in the same run.

    Raises:
        UserError: the network, the pictures or an option is not usable; nothing was written.
        UnsupportedEnvironment: none of the targets can be built here.
    """
    require_threads(options.threads, "--threads", "give the number of CPUs that an engine may use")
    backends = chosen_backends(options.targets)
    task = read_task(options)
    workshop, trials = _ready(task, options, backends)
    options.out.mkdir(parents=True, exist_ok=True)
    onnx_graph.save(task.graph, workshop.float_onnx)
    planned = workshop.float_onnx
    if workshop.graph is not task.graph:
        planned = options.out / "equalized.onnx"
        onnx_graph.save(workshop.graph, planned)
    write_plan(workshop.plan.of_graph(planned), options.out / "plan.json")
    wanted = [(backend, precision) for backend in backends for precision in backend.precisions]
    candidates = [Candidate.of(workshop.outcome(backend, precision)) for backend, precision in wanted]
    candidates += others(task, workshop)
    bench = BenchConfig(rounds=options.rounds, runs_per_round=3, warmup_ms=WARMUP_MS, threads=options.threads)
    rows = compare(candidates, Exam(task.parts.test, task.test, task.size, task.labels), bench)
    result = Result(
        source=str(options.source),
        told=task.told | {"recipe": _recipe_told(trials, options)} | _floats_told(trials),
        rows=rows,
        trials=[trial.to_json() for trial in trials],
        metric=task.labels.metric if task.labels else "",
        command=command,
    )
    result.write(options.out)
    return result


def read_task(options: Options) -> Task:
    """The network and its pictures; FP32 has run on every picture.

    Raises:
        UserError: see `quantize`.
    """
    graph = onnx_graph.load(options.source)
    found = picture_input(graph, options.layout)
    normalization = options.normalization().of(found.channels)
    ready = options.data.suffix in READY
    files = [] if ready else picture_files(options.data, options.pictures)
    sample = read_image(files[0]).shape[:2] if files else (224, 224)
    size, origin = chosen_size(found, options.size, (sample[0], sample[1]))
    shape = found.shape(*size)
    if ready:
        pictures = ready_inputs(options.data, shape, options.pictures)
    else:
        names = [path.relative_to(options.data).as_posix() for path in files]
        pictures = Pictures(names, files, Prepare(found, size, normalization, options.fit, options.bgr))
    parts = split(pictures)
    labels = read_labels(options.labels, parts.test.names) if options.labels else None
    clean = float_network(graph, shape, options.source)
    require_each_names("--skip", options.skip, onnx_graph.view(clean).nodes)
    _require_same(options.source, clean, pictures[0])
    told = {
        "input": f"{found.name} {found.layout} {'×'.join(map(str, shape))}, size from {origin}",
        "pictures": str(parts),
        "values": _values_told(found, options, ready),
    }
    for subject, text in told.items():
        say(f"{subject}: {text}")
    _run_all(clean, parts.calibrate, kept=False)
    choose, test = (_run_all(clean, part) for part in (parts.choose, parts.test))
    if labels:
        told["labels"] = f"FP32 has {labels.score(parts.test.names, test, size):.2f} {labels.metric}"
        say(f"labels: {told['labels']}")
    return Task(clean, found, size, parts, told, labels, choose, test)


def require_tolerance(rows: Iterable[Row], tolerance: float) -> None:
    """Raise `GateMissed` when an INT8 engine loses more points than `tolerance` against FP32.

    With labels the points are the metric's, else points of agreement with FP32, or of IoU with its masks.
    """
    rows = list(rows)
    fp32 = {row.backend: row.score for row in rows if row.precision == "fp32"}
    missed = []
    for row in (row for row in rows if row.precision == "int8" and row.status in ("ok", "simulated")):
        reference = fp32.get(row.backend)
        lost = reference - row.score if reference is not None and row.score is not None else row.lost_points
        if lost is not None and lost > tolerance:
            missed.append(f"{row.engine} loses {lost:.2f} points")
    if missed:
        raise GateMissed(
            f"INT8 loses more than {tolerance:g} points",
            why="; ".join(missed),
            fix="give more pictures, keep layers in float with --skip, or fine-tune the network (docs/guides/qat.md)",
        )


def _ready(task: Task, options: Options, backends: Sequence[Backend]) -> tuple[Workshop, list[Trial]]:
    """The workshop of the calibrator that the user chose, or of the recipe closest to FP32, and the trials."""
    if not backends:
        raise UnsupportedEnvironment("no engine can be built here", fix=f"see `{command_line('doctor')}`")
    images = task.parts.calibrate
    workshop = Workshop(options.out, task.graph, QuantizationPlan(), build_options(task, options), options.skip)
    chooser = Chooser(workshop, images, backends)
    runs_here = next((backend for backend in backends if backend.runnable("int8") is None), None)
    if options.calibrator or runs_here is None:
        return chooser.following(Recipe(options.calibrator or "mse")), []
    seen = task.parts.choose, task.choose
    best, *others = chooser.closest(runs_here, *seen)
    trials = [*within(Budget(options.snr_db, options.tolerance), best, chooser, runs_here, *seen), *others]
    return chooser.following(trials[0].recipe), trials


def _floats_told(trials: Sequence[Trial]) -> dict[str, str]:
    floats = trials[0].recipe.in_float if trials else ()
    return {"in float": "; ".join(f"{item.node}: {item.why}" for item in floats)} if floats else {}


def _recipe_told(trials: Sequence[Trial], options: Options) -> str:
    if not trials:
        return options.calibrator or "mse (no engine could be run here to choose by)"
    return f"{trials[0].recipe}, the closest to FP32 of {len(trials)} ({shown(trials[0].outputs)})"


def _values_told(found: PictureInput, options: Options, ready: bool) -> str:
    if ready:
        return "as they are in the file"
    channels = "grey" if found.channels == 1 else "BGR" if options.bgr else "RGB"
    if found.pixels:
        return f"{channels}, uint8 as they are"
    guessed = not (options.preset or options.mean)
    why = " (the default; --preset or --mean and --std change it)" if guessed else ""
    return f"{channels}, {options.normalization().of(found.channels)}{why}, {options.fit} to the size"


def build_options(task: Task, options: Options) -> BuildOptions:
    """The options of every builder besides its precision: threads, and the meaning of the network's input."""
    height, width = task.size
    meaning: dict[str, Any] = {"input": {"height_px": height, "width_px": width}}
    if not task.input.pixels and options.data.suffix not in READY:
        chosen = options.normalization().of(task.input.channels)
        meaning["normalization"] = {
            "mean": list(chosen.mean),
            "std": list(chosen.std),
            "of": "(x / 255 - mean) / std",
            "where": "before the engine",
        }
        meaning["input"]["color"] = "BGR" if options.bgr else "RGB"
    return BuildOptions("fp32", threads=options.threads, meaning=meaning)


def _run_all(graph: gs.Graph, pictures: Pictures, kept: bool = True) -> list[Tensors]:
    """FP32's outputs; none are kept where they only had to be finite.

    Raises:
        UserError: ONNX Runtime refuses the network, or an output is not finite on a picture.
    """
    names = [tensor.name for tensor in graph.outputs]
    try:
        session = watching(gs.export_onnx(graph), names)
    except Exception as error:  # ONNX Runtime has an exception type for each of its status codes
        raise UserError("ONNX Runtime cannot run the network", why=last_line(error), fix=_EXPORT) from error
    feed = session.get_inputs()[0].name
    found: list[Tensors] = []
    for index, name in enumerate(track(pictures.names, "FP32")):
        image = pictures[index]
        try:
            values = session.run(names, {feed: image})
        except Exception as error:  # as above
            raise UserError(f"the network does not run on {name}", why=last_line(error), fix=_EXPORT) from error
        for output, value in zip(names, values, strict=True):
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise UserError(
                    f"output {output} of the float network is NaN or infinite on {name}",
                    why="what FP32 cannot compute, INT8 cannot be compared with",
                    fix="check the picture, the normalisation (--preset) and the network's weights",
                )
        if kept:
            found.append(dict(zip(names, values, strict=True)))
    return found


_EXPORT = "export the network again, with a fixed input size and standard operators"


def _require_same(source: Path, graph: gs.Graph, image: Any) -> None:
    """Raise `UserError` unless the graph that was read computes what the file does, on one picture."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = onnx_graph.ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        feed = session.get_inputs()[0]
        kind = {"tensor(float16)": np.float16}.get(feed.type, image.dtype)
        names = [output.name for output in session.get_outputs()]
        expected = dict(zip(names, session.run(None, {feed.name: image.astype(kind)}), strict=True))
    except Exception as error:  # as above: an old opset or bfloat16, which the raised graph may well run
        say(f"{source.name} as it is does not run here ({last_line(error)}); the graph that was read is not compared")
        return
    names = [tensor.name for tensor in graph.outputs]
    got = dict(zip(names, watching(gs.export_onnx(graph), names).run(names, {feed.name: image}), strict=True))
    for found in fidelity([expected], [got]):
        if found.snr_db < SAME_NETWORK_DB:
            raise UserError(
                f"{source} was not read as it computes: output {found.output} has an SNR of {found.snr_db:.1f} dB",
                why="raising the opset or folding constants changed the network",
                fix="export it with opset 17 or later; please report the model",
            )
