"""Train/deploy parity: checks that the placed graph computes the outputs of the fake-quantized model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from core.errors import UserError

# Rounding differences grow through the layers; a wrong scale costs more than this.
LEAST_AGREEMENT = 0.95
LEAST_SNR_DB = 10.0
# A badly trained network magnifies rounding and can miss that limit by itself; then placing must not make it worse.
AGREEMENT_MARGIN = 0.05
SNR_MARGIN_DB = 3.0
HIGHEST_SNR_DB = 200.0  # reported for equal results, whose ratio would be infinite


@dataclass(frozen=True)
class Parity:
    """Closeness of two runs on the same images.

    Attributes:
        agreement: share of outputs (pixels, or images of a classifier) with the same largest logit, 0 to 1.
        snr_db: power of the reference logits over the power of the difference, in decibels.
        images: how many were compared.
    """

    agreement: float
    snr_db: float
    images: int


def parity(onnx: Path, reference: Path) -> Parity:
    """Run `onnx` by ONNX Runtime, nothing fused, on the stored images, and compare with the stored logits of training.

    Args:
        reference: npz with `images` (N, C, H, W) and `logits` (N, classes, ...), both float32.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    with np.load(reference) as stored:
        images, expected = stored["images"], stored["logits"]
    got = np.concatenate([session.run(None, {name: image[np.newaxis]})[0] for image in images])
    return _compared(got, expected)


def require_parity(placed: Path, reference: Path, name: str) -> Parity:
    """`parity` of `placed`; raises `UserError` under its final `name` when it does not compute the trained network.

    A badly trained network magnifies rounding. The reference therefore also holds the logits of training on images
    that differ by no more than rounding does: a graph that is as close as these is accepted.
    """
    found = parity(placed, reference)
    if found.agreement >= LEAST_AGREEMENT and found.snr_db >= LEAST_SNR_DB:
        return found
    with np.load(reference) as stored:
        own = _compared(stored["nudged"], stored["logits"])
    if found.agreement < own.agreement - AGREEMENT_MARGIN or found.snr_db < own.snr_db - SNR_MARGIN_DB:
        raise UserError(
            f"{name} is not the trained model: {found.agreement:.1%} of outputs equal, "
            f"SNR {found.snr_db:.1f} dB ({own.agreement:.1%} and {own.snr_db:.1f} dB under rounding alone)",
            why="a scale or a Q/DQ pair is not where it was in training",
            fix="run the QAT stage with the same placement section",
        )
    return found


def _compared(got: NDArray[np.float32], expected: NDArray[np.float32]) -> Parity:
    noise = float(np.square(got - expected, dtype=np.float64).sum())
    signal = float(np.square(expected, dtype=np.float64).sum())
    return Parity(
        agreement=float((got.argmax(1) == expected.argmax(1)).mean()),
        snr_db=decibels(signal, noise),
        images=len(expected),
    )


def decibels(signal: float, noise: float) -> float:
    """10 · log10 of the ratio of two powers, within ±`HIGHEST_SNR_DB`."""
    if not noise:
        return HIGHEST_SNR_DB
    return min(10 * math.log10(signal / noise), HIGHEST_SNR_DB) if signal else -HIGHEST_SNR_DB
