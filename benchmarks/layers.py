"""Where an engine's time goes, layer by layer, and where placement left the network in float."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Outcome
from benchmarks.results import LayerCost, Placed, Row, Skipped
from core.console import say
from deploy.plan.plan import read_placement
from deploy.targets.layer_times import layer_times
from qat.tracing.export import INPUT_NAME

RUNS = 10


def layer_costs(
    rows: Sequence[Row], outcomes: Sequence[Outcome], image: NDArray[np.float32]
) -> dict[str, tuple[LayerCost, ...]]:
    """Layers by time of every engine that ran and whose backend has a profiler, by row name.

    Args:
        outcomes: in the order of `rows`.
        image: (1, C, H, W).
    """
    costs = {}
    for row, outcome in zip(rows, outcomes, strict=True):
        if row.status != "ok" or outcome.bundle is None:
            continue
        try:
            times = layer_times(outcome.bundle, {INPUT_NAME: image}, RUNS)
        except Exception as error:  # a vendor's profiler may raise anything; what was measured before still stands
            say(f"{row.name}: profile failed: {type(error).__name__}: {error}")
            continue
        if times is not None:
            costs[row.name] = tuple(LayerCost.model_validate(vars(layer)) for layer in times)
    return costs


def placed(path: Path) -> Placed | None:
    """What `placement.json` says; None without the file."""
    if not path.is_file():
        return None
    plan = read_placement(path)
    return Placed(
        activations=dict(Counter(use.rule for item in plan.activations.values() for use in item.uses)),
        weights=len(plan.weights),
        skips=tuple(Skipped.model_validate(skip.model_dump()) for skip in plan.skips),
    )
