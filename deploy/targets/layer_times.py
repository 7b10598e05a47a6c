"""How long each layer of a built engine takes, and in which precision, from the vendor's own profiler.

OpenVINO: `PERF_COUNT` and the request's profiling info. ONNX Runtime: the kernel times of its profile.
TensorRT would tell through `IProfiler`; that is not written, since it could not be run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

from deploy.bundle.store import check_bundle
from deploy.bundle.types import Bundle
from deploy.targets import get_backend
from deploy.targets.base import Tensors
from deploy.targets.onnxruntime import backend as onnxruntime_backend
from deploy.targets.openvino import backend as openvino_backend


@dataclass(frozen=True)
class LayerTime:
    """One layer: the engine's own name, its kind ("Conv" for every convolution), what it computes in, milliseconds."""

    name: str
    kind: str
    precision: str
    ms: float


def layer_times(bundle: Bundle, feeds: Tensors, runs: int) -> list[LayerTime] | None:
    """Median time of every executed layer over `runs` inferences, after one that does not count; slowest first.

    Profiling slows an engine down, so the times say where it goes and do not add up to the latency.

    Returns:
        None for a backend without a profiler here (TensorRT).

    Raises:
        UserError: the bundle is not what was built (see `deploy.bundle.store.check_bundle`).
    """
    profiler = _PROFILERS.get(bundle.backend)
    if profiler is None:
        return None
    backend = get_backend(bundle.backend)
    check_bundle(bundle, backend.version(), backend.files)
    return sorted(profiler(bundle, feeds, runs), key=lambda layer: -layer.ms)


def _openvino(bundle: Bundle, feeds: Tensors, runs: int) -> Iterable[LayerTime]:

    properties = {**bundle.manifest["properties"], "PERF_COUNT": True}
    compiled = openvino_backend.compile_model(bundle.dir / openvino_backend.MODEL, properties)
    request = compiled.create_infer_request()
    for name, value in feeds.items():
        request.get_tensor(name).data[...] = value
    means: dict[tuple[str, str, str], list[float]] = {}
    for _ in range(runs + 1):
        request.infer()
        for info in request.profiling_info:
            if info.status == info.Status.EXECUTED:
                key = (info.node_name, info.node_type, info.exec_type)
                means.setdefault(key, []).append(info.real_time.total_seconds() * 1e3)
    for (name, kind, primitive), over_time in means.items():
        precision = openvino_backend.precision_of(primitive)
        yield LayerTime(name, openvino_backend.kind_of(kind), precision, median(_single(over_time)))


def _single(means: Sequence[float]) -> list[float]:
    """Times of the second and later runs: OpenVINO counts the mean of all runs since the model was compiled."""
    totals = [(index + 1) * mean for index, mean in enumerate(means)]
    return [max(0.0, after - before) for before, after in pairwise(totals)] or list(means)


def _onnxruntime(bundle: Bundle, feeds: Tensors, runs: int) -> Iterable[LayerTime]:
    inputs = {name: np.ascontiguousarray(value) for name, value in feeds.items()}
    with tempfile.TemporaryDirectory() as folder:
        model = bundle.dir / onnxruntime_backend.MODEL
        session = onnxruntime_backend.open_session(model, bundle.manifest["threads"], profile_to=Path(folder))
        for _ in range(runs + 1):
            session.run(None, inputs)
        events = onnxruntime_backend.kernel_events(session)
    samples: dict[tuple[str, str], list[float]] = {}
    for name, event in events:
        samples.setdefault((name, event["args"]["op_name"]), []).append(event["dur"] / 1e3)
    for (name, operator), times in samples.items():
        kind, precision = onnxruntime_backend.kind_of(operator), onnxruntime_backend.precision_of(operator)
        yield LayerTime(name, kind, precision, median(times[1:] or times))


_PROFILERS: dict[str, Callable[[Bundle, Tensors, int], Iterable[LayerTime]]] = {
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
}
