"""Layers by their distance from FP32, and nodes that placement left in float."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.record.details import Layer, Placed
from core.console import say
from core.files.paths import RunPaths
from deploy.apps.provenance import nodes_of, provenance
from deploy.checks.layer_snr import LayerSnr, layer_snr
from deploy.pipeline import BuildOutcome
from deploy.plan.images import read_images
from deploy.plan.plan import QuantizationPlan, read_placement
from deploy.targets import get_backend
from deploy.targets.base import LayerInfo


def layer_noise(targets: Mapping[str, str], paths: RunPaths) -> dict[str, tuple[LayerSnr, ...]]:
    """Weighted layers of the graph that an engine was built from, the farthest from FP32 first, by row name.

    Fine-tuning changes layers, too: the distance covers changes by rounding and by training.

    Args:
        targets: target of each INT8 engine's graph, by row name; missing graphs are skipped.
    """
    found: dict[str, tuple[LayerSnr, ...]] = {}
    for target in sorted(set(targets.values())):
        placed = paths.placed(target)
        if placed.is_file():
            say(f"layers: {placed.name} against {paths.float_onnx.name}")
            layers = layer_snr(paths.float_onnx, placed, read_images(paths.calibration))
            found[target] = tuple(sorted(layers, key=lambda layer: layer.snr_db))
    return {name: found[target] for name, target in targets.items() if target in found}


def joined(
    layers: Mapping[str, Sequence[Layer]],
    outcomes: Mapping[str, BuildOutcome],
    noise: Mapping[str, Sequence[LayerSnr]],
    paths: RunPaths,
) -> dict[str, tuple[Layer, ...]]:
    """`layers`, each with facts from the engine and from the plan of its graph; float engines have no plan.

    Args:
        layers, outcomes, noise: by row name.
    """
    found = {}
    for name, timed in layers.items():
        outcome = outcomes[name]
        assert outcome.bundle is not None  # a timed engine has a bundle
        backend = get_backend(outcome.backend)
        listed = {layer.name: layer for layer in backend.layers(outcome.bundle)}
        report = paths.placement(backend.target)
        plan = read_placement(report) if outcome.precision == "int8" and report.is_file() else QuantizationPlan()
        snr = {layer.node: layer.snr_db for layer in noise.get(name, ())}
        found[name] = tuple(_joined(layer, listed.get(layer.name), plan, snr) for layer in timed)
    return found


def _joined(timed: Layer, listed: LayerInfo | None, plan: QuantizationPlan, snr: Mapping[str, float]) -> Layer:
    if listed is None:
        return timed
    origin = provenance(listed, plan)
    noise = next((snr[node] for node in sorted(nodes_of(listed)) if node in snr), None)
    return timed.model_copy(update={**vars(origin), "output": listed.output, "snr_db": noise})


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
