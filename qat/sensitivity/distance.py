"""How far the outputs of two networks are apart; needs no labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qat.sensitivity.task import logits_of

LARGEST_DB = 200.0  # of outputs that do not differ at all


@dataclass(frozen=True)
class Distance:
    """Sums over the outputs of some images, so that distances of more images are added."""

    signal: float
    noise: float
    other: float
    product: float
    divergence: float
    positions: float

    def __add__(self, more: Distance) -> Distance:
        return Distance(*(a + b for a, b in zip(vars(self).values(), vars(more).values(), strict=True)))

    def scores(self) -> dict[str, float]:
        """`snr_db` of the output, `cosine` of the angle between outputs, `kl` from the float softmax, in nats."""
        snr = 10 * math.log10(self.signal / self.noise) if self.signal > 0 and self.noise > 0 else LARGEST_DB
        norms = math.sqrt(self.signal * self.other)
        return {
            "snr_db": min(snr, LARGEST_DB) if self.noise else LARGEST_DB,
            "cosine": self.product / norms if norms else 1.0,
            "kl": max(self.divergence / max(self.positions, 1.0), 0.0),
        }


def distance(reference: Any, output: Any) -> Distance:
    """Of `output` from `reference`, both what the network returned; the softmax is over dimension 1.

    One channel alone is taken as a logit, whose softmax is over it and its complement.
    """
    a, b = logits_of(reference).double(), logits_of(output).double()
    log_a, log_b = _log_softmax(a), _log_softmax(b)
    return Distance(
        signal=float((a * a).sum()),
        noise=float(((a - b) ** 2).sum()),
        other=float((b * b).sum()),
        product=float((a * b).sum()),
        divergence=float((log_a.exp() * (log_a - log_b)).sum()),
        positions=a.numel() / (a.shape[1] if a.ndim > 1 else 1),
    )


def total(distances: Iterable[Mapping[str, float]]) -> Distance:
    """The sum of stored distances."""
    result = Distance(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    for item in distances:
        result += Distance(**item)
    return result


def _log_softmax(values: Tensor) -> Tensor:
    channels = values if values.ndim > 1 else values[:, None]
    if channels.shape[1] == 1:
        channels = torch.cat([channels, torch.zeros_like(channels)], 1)
    return torch.log_softmax(channels, 1)
