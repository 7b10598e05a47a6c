"""Time and precision of each layer of a built engine, from the vendor's own profiler."""

from __future__ import annotations

from deploy.bundle.types import Bundle
from deploy.targets import get_backend
from deploy.targets.base import LayerTime, Tensors


def layer_times(bundle: Bundle, feeds: Tensors, runs: int) -> list[LayerTime] | None:
    """Median time of every executed layer over `runs` inferences, after one that does not count; slowest first.

    Profiling slows an engine down: the times show shares and do not add up to the latency.

    Returns:
        None for a backend without a profiler here (TensorRT).

    Raises:
        UserError: the bundle changed since it was built (see `deploy.bundle.store.check_bundle`).
    """
    found = get_backend(bundle.backend).profile(bundle, feeds, runs)
    return None if found is None else sorted(found, key=lambda layer: -layer.ms)
