"""Distances between the outputs of two networks; needs no labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qat.sensitivity.measure.bootstrap import measured
from qat.sensitivity.types import Measured
from qat.sensitivity.user.batch import logits_of
from qat.tasks.metrics import divergence

LARGEST_DB = 200.0  # SNR of identical outputs

Weights = NDArray[np.float64]
Values = Mapping[str, NDArray[np.float64]]


def scores(distances: Sequence[Mapping[str, float]], seed: int) -> dict[str, Measured]:
    """`snr_db` of the output, `cosine` of the angle between outputs, `kl` from the float softmax, in nats.

    Values are over all images together, with intervals over images; `distances` are those of single images.
    """
    values = {name: np.array([item[name] for item in distances]) for name in distances[0]}
    statistics = {"snr_db": _snr_db, "cosine": _cosine, "kl": _divergence}
    return {name: measured(partial(of, values), len(distances), seed) for name, of in statistics.items()}


def _snr_db(values: Values, weights: Weights) -> Weights:
    signal, noise = weights @ values["signal"], weights @ values["noise"]
    counts = (signal > 0) & (noise > 0)
    ratio = np.divide(signal, noise, out=np.ones_like(signal), where=counts)
    return np.where(counts, np.minimum(10 * np.log10(ratio), LARGEST_DB), LARGEST_DB)


def _cosine(values: Values, weights: Weights) -> Weights:
    norms = np.sqrt((weights @ values["signal"]) * (weights @ values["other"]))
    return np.divide(weights @ values["product"], norms, out=np.ones_like(norms), where=norms > 0)


def _divergence(values: Values, weights: Weights) -> Weights:
    return np.maximum((weights @ values["divergence"]) / np.maximum(weights @ values["positions"], 1.0), 0.0)


def distance(reference: Any, output: Any) -> dict[str, float]:
    """Sums over the outputs of one image, which add up over images; the softmax is over dimension 1.

    Args:
        reference, output: of the float network and of the quantized network, as returned.
    """
    a, b = logits_of(reference).double(), logits_of(output).double()
    diverged, positions = divergence(a, b)
    return {
        "signal": float((a * a).sum()),
        "noise": float(((a - b) ** 2).sum()),
        "other": float((b * b).sum()),
        "product": float((a * b).sum()),
        "divergence": diverged,
        "positions": positions,
    }
