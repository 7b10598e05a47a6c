"""Distance of a placed graph, layer by layer, from a reference: the trained Q/DQ graph or the float graph.

The signal-to-noise ratio of a layer is 10 · log10(Σ reference² / Σ (placed - reference)²) over its outputs. Layers
after an imprecise one inherit its noise, so inspect the first low value on a path.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from deploy.checks.parity import decibels
from deploy.graph.debug_session import watching
from deploy.graph.opgraph import WEIGHTED


@dataclass(frozen=True)
class LayerSnr:
    """The output `tensor` of weighted op `node` in both graphs."""

    node: str
    tensor: str
    snr_db: float


def layer_snr(reference: Path, placed: Path, images: Iterable[NDArray[np.float32]]) -> list[LayerSnr]:
    """SNR of every weighted op whose output has the same name in both graphs, in the order of `placed`.

    Args:
        reference, placed: ONNX files; both are run by ONNX Runtime with nothing fused.
        images: network inputs, float32 (1, C, H, W) each.
    """
    common = _weighted_outputs(reference) & _weighted_outputs(placed)
    makers = {node.output[0]: node.name for node in onnx.load(str(placed)).graph.node}
    tensors = [tensor for tensor in makers if tensor in common]
    sessions = [watching(onnx.load(str(path)), tensors) for path in (reference, placed)]
    signal, noise = np.zeros(len(tensors)), np.zeros(len(tensors))
    for image in images:
        expected, got = (session.run(tensors, {session.get_inputs()[0].name: image}) for session in sessions)
        signal += [float(np.square(value, dtype=np.float64).sum()) for value in expected]
        noise += [
            float(np.square(value - other, dtype=np.float64).sum()) for value, other in zip(expected, got, strict=True)
        ]
    pairs = zip(tensors, signal, noise, strict=True)
    return [LayerSnr(makers[tensor], tensor, decibels(power, error)) for tensor, power, error in pairs]


def _weighted_outputs(path: Path) -> set[str]:
    return {node.output[0] for node in onnx.load(str(path)).graph.node if node.op_type in WEIGHTED}
