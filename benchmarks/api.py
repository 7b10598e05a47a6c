"""From a network to timed INT8 engines in Python, without a run folder: docs/reference/api.md walks through it.

    quantize → calibrate → save ─┐
                                 ├─▶ apply → build → benchmark
    calibrate_onnx ──────────────┘

`quantize` and `calibrate` work on a PyTorch network, which may be trained in between (see `qat.api`). `calibrate_onnx`
needs no PyTorch network. The commands do the same and also train, score and report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.latency import summarize
from benchmarks.record.rows import Latency
from core.config import ActivationCalibrator, BenchConfig, CalibrationConfig
from core.errors import UnsupportedEnvironment, UserError
from core.interval import Interval
from deploy.apps.place import Choices, apply_plan, make_plan
from deploy.targets import get_backend
from deploy.targets.base import BuildOptions, Bundle, Precision
from deploy.tuning.timing import paired_ratio, time_in_turns
from qat.api import calibrate, quantize, save

__all__ = ["Timed", "apply", "benchmark", "build", "calibrate", "calibrate_onnx", "quantize", "save"]


@dataclass(frozen=True)
class Timed:
    """Latency of an engine, and its time ratio to the first engine, with a 95 % interval."""

    latency_ms: Latency
    ratio: Interval


def calibrate_onnx(
    network: Path, images: Iterable[NDArray[np.float32]], folder: Path, method: ActivationCalibrator = "mse"
) -> tuple[Path, Path]:
    """Calibrate a float ONNX file; returns the paths of `float.onnx` and `plan.json`, as `save` does.

    Args:
        network: float, with static shapes or a dynamic batch.
        images: network inputs, float32 (1, C, H, W) each.
        folder: both files are written there.
        method: turns observed values into a range (docs/guides/qat.md).

    Raises:
        UserError: the file is quantized already, the images do not fit it, or there is nothing to quantize.
    """
    return make_plan(network, images, folder, Choices(), CalibrationConfig(method=method))


def apply(network: Path, plan: Path, out: Path, target: str) -> Path:
    """Write the Q/DQ graph of a target to `out`, and its placement report beside it; returns `out`.

    Args:
        network, plan: the two files that `save` or `calibrate_onnx` wrote.
        target: qdq, tensorrt, openvino or onnxruntime (docs/reference/placement.md).

    Raises:
        UserError: no such target, or the plan belongs to another network.
    """
    apply_plan(network, plan, out, Choices(target=target))
    return out


def build(graph: Path, out: Path, backend: str, precision: Precision = "int8", threads: int = 1) -> Bundle:
    """Build an engine into the folder `out`, which is replaced when it exists.

    Args:
        graph: the Q/DQ graph of the backend's target for "int8"; the float network for other precisions.
        backend: openvino, onnxruntime or a TensorRT (docs/reference/engines.md).
        threads: number of CPU threads, for CPU engines.

    Raises:
        UnsupportedEnvironment: this machine cannot build that precision with that backend.
        UserError: no such backend, or the builder refuses the graph.
    """
    builder = get_backend(backend)
    if (missing := builder.available(precision)) is not None:
        raise UnsupportedEnvironment(f"{backend} {precision} cannot be built here", missing.why, missing.fix)
    return builder.build(graph, out, BuildOptions(precision, threads=threads))


def benchmark(
    engines: Mapping[str, Bundle], image: NDArray[np.float32], plan: BenchConfig | None = None
) -> dict[str, Timed]:
    """Time engines in turns; every ratio is to the first engine.

    Args:
        engines: by name, as in the result.
        image: (N, C, H, W) float32, fed to every engine.
        plan: rounds, runs per round and warm-up; None for the defaults of `bench`.

    Raises:
        UserError: there are no engines, or one changed since it was built.
    """
    if not engines:
        raise UserError("there are no engines to time", fix="give at least one bundle")
    with ExitStack() as stack:
        sessions = {
            name: stack.enter_context(get_backend(bundle.backend).open(bundle)) for name, bundle in engines.items()
        }
        feeds = {name: {session.input_names[0]: image} for name, session in sessions.items()}
        samples = time_in_turns(sessions, feeds, plan or BenchConfig())
    first = samples[next(iter(engines))]
    return {name: Timed(summarize(taken), paired_ratio(taken, first)) for name, taken in samples.items()}
