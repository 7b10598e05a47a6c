"""Time of each layer of an ONNX Runtime engine: the kernel times of its profile."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from deploy.bundle.pixels import Feeder
from deploy.bundle.types import Bundle
from deploy.targets.base import LayerTime, Tensors
from deploy.targets.onnxruntime.engine import MODEL, open_session
from deploy.targets.onnxruntime.layers import kernel_events, kind_of, precision_of


def profile(bundle: Bundle, feeds: Tensors, runs: int) -> Iterator[LayerTime]:
    """Median time of every layer over `runs` inferences, after one that does not count."""
    inputs = Feeder(bundle.manifest).ready(feeds)
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(bundle.dir / MODEL, bundle.manifest["threads"], profile_to=Path(folder))
        for _ in range(runs + 1):
            session.run(None, inputs)
        events = kernel_events(session)
    samples: dict[tuple[str, str], list[float]] = {}
    for name, event in events:
        samples.setdefault((name, event["args"]["op_name"]), []).append(event["dur"] / 1e3)
    for (name, operator), times in samples.items():
        yield LayerTime(name, kind_of(operator), precision_of(operator), median(times[1:] or times))
