"""Time of each layer of an OpenVINO engine: `PERF_COUNT` and the request's profiling info."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from deploy.bundle.pixels import Feeder
from deploy.bundle.types import Bundle
from deploy.targets.base import LayerTime, Tensors
from deploy.targets.openvino.engine import MODEL, compile_model
from deploy.targets.openvino.layers import kind_of, precision_of


def profile(bundle: Bundle, feeds: Tensors, runs: int) -> Iterator[LayerTime]:
    """Median time of every executed layer over `runs` inferences, after one that does not count."""
    properties = {**bundle.manifest["properties"], "PERF_COUNT": True}
    request = compile_model(bundle.dir / MODEL, properties).create_infer_request()
    feeder = Feeder(bundle.manifest)
    for name, value in feeds.items():
        feeder.put(value, request.get_tensor(name).data)
    means: dict[tuple[str, str, str], list[float]] = {}
    for _ in range(runs + 1):
        request.infer()
        for info in request.profiling_info:
            if info.status == info.Status.EXECUTED:
                key = (info.node_name, info.node_type, info.exec_type)
                means.setdefault(key, []).append(info.real_time.total_seconds() * 1e3)
    for (name, kind, primitive), over_time in means.items():
        yield LayerTime(name, kind_of(kind), precision_of(primitive), median(single(over_time)))


def single(means: Sequence[float]) -> list[float]:
    """Times of the second and later runs: OpenVINO counts the mean of all runs since the model was compiled."""
    totals = [(index + 1) * mean for index, mean in enumerate(means)]
    return [max(0.0, after - before) for before, after in pairwise(totals)] or list(means)
