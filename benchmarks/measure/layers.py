"""Layers by their distance from FP32, and nodes that placement left in float."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from benchmarks.record.details import Placed
from core.console import say
from core.paths import RunPaths
from deploy.checks.layer_snr import LayerSnr, layer_snr
from deploy.plan.images import read_images
from deploy.plan.plan import read_placement


def layer_noise(targets: Mapping[str, str], paths: RunPaths) -> dict[str, tuple[LayerSnr, ...]]:
    """Weighted layers of the graph that an engine was built from, the farthest from FP32 first, by row name.

    Fine-tuning moves layers too: a layer is far that changed much, by rounding or by training.

    Args:
        targets: by row name the target whose graph its INT8 engine was built from; a graph that is missing is left out.
    """
    found: dict[str, tuple[LayerSnr, ...]] = {}
    for target in sorted(set(targets.values())):
        placed = paths.placed(target)
        if placed.is_file():
            say(f"layers: {placed.name} against {paths.float_onnx.name}")
            layers = layer_snr(paths.float_onnx, placed, read_images(paths.calibration))
            found[target] = tuple(sorted(layers, key=lambda layer: layer.snr_db))
    return {name: found[target] for name, target in targets.items() if target in found}


def placed(path: Path) -> Placed | None:
    """The uses, weights and skips of a placement report; None without the file."""
    if not path.is_file():
        return None
    plan = read_placement(path)
    return Placed(
        activations=dict(Counter(use.rule for item in plan.activations.values() for use in item.uses)),
        weights=len(plan.weights),
        skips=plan.skips,
    )
