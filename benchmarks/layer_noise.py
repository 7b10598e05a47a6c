"""How far INT8 takes each layer from FP32: where a loss of accuracy may come from."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.results import LayerNoise
from core.console import say
from core.paths import RunPaths
from deploy.checks.layer_snr import layer_snr
from deploy.plan.observe import read_images


def layer_noise(dialects: Mapping[str, str], paths: RunPaths) -> dict[str, tuple[LayerNoise, ...]]:
    """Weighted layers of the graph that an engine was built from, the farthest from FP32 first.

    Fine-tuning moves layers too, so what is far is what changed most, by rounding or by training.

    Args:
        dialects: by row name the dialect its INT8 engine was built from; one whose graph is not there is left out.
    """
    found: dict[str, tuple[LayerNoise, ...]] = {}
    for dialect in sorted(set(dialects.values())):
        placed = paths.placed(dialect)
        if not placed.is_file():
            continue
        say(f"layers: {placed.name} against {paths.fp32_onnx.name}")
        layers = layer_snr(paths.fp32_onnx, placed, read_images(paths.calibration))
        noisy = sorted(layers, key=lambda layer: layer.snr_db)
        found[dialect] = tuple(LayerNoise(name=layer.node, snr_db=layer.snr_db) for layer in noisy)
    return {name: found[dialect] for name, dialect in dialects.items() if dialect in found}
