"""How far INT8 takes each layer from FP32: where a loss of accuracy may come from."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.results import LayerNoise
from core.console import say
from core.paths import RunPaths
from deploy.checks.layer_snr import layer_snr
from deploy.plan.images import read_images


def layer_noise(targets: Mapping[str, str], paths: RunPaths) -> dict[str, tuple[LayerNoise, ...]]:
    """Weighted layers of the graph that an engine was built from, the farthest from FP32 first.

    Fine-tuning moves layers too, so what is far is what changed most, by rounding or by training.

    Args:
        targets: by row name the target its INT8 engine was built from; one whose graph is not there is left out.
    """
    found: dict[str, tuple[LayerNoise, ...]] = {}
    for target in sorted(set(targets.values())):
        placed = paths.placed(target)
        if not placed.is_file():
            continue
        say(f"layers: {placed.name} against {paths.float_onnx.name}")
        layers = layer_snr(paths.float_onnx, placed, read_images(paths.calibration))
        noisy = sorted(layers, key=lambda layer: layer.snr_db)
        found[target] = tuple(LayerNoise(name=layer.node, snr_db=layer.snr_db) for layer in noisy)
    return {name: found[target] for name, target in targets.items() if target in found}
