"""What the measuring half of the sensitivity analysis hands to the half that decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Part = Literal["both", "weight", "activation"]
ToleranceKind = Literal["loss_increase", "loss", "metric_drop", "metric_relative"]
DAMAGE_TITLES: Mapping[ToleranceKind, str] = {
    "loss_increase": "rise of the loss over FP32",
    "loss": "loss",
    "metric_drop": "drop of the metric below FP32",
    "metric_relative": "drop of the metric below FP32, share of it",
}
SCORE_TITLES = {"snr_db": "SNR, dB", "taylor": "Taylor", "cosine": "cosine", "kl": "KL"}  # first by what a screen ranks


@dataclass(frozen=True)
class Unit:
    """Quantizers that can only be switched together.

    Attributes:
        name: unique among the units of a model.
        quantizers: module paths of the quantizers.
        part: whether they quantize weights, activations or both.
        layers: node names that `placement.skip` would list to leave the unit in float.
        tensors: whose outputs its quantizers of activations take, all inputs of a Concat if they share one; empty
            where the network is not a graph.
    """

    name: str
    quantizers: tuple[str, ...]
    part: Part
    layers: tuple[str, ...]
    tensors: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """See `label_of`."""
        return label_of(self.name, self.layers)


def label_of(name: str, layers: Sequence[str]) -> str:
    """A unit's name and how many layers it does not tell of: "conv1.3 +2", or "layer1 (4 layers)" of a block."""
    if len(layers) <= 1:
        return name
    return f"{name} +{len(layers) - 1}" if name in layers else f"{name} ({len(layers)} layers)"


@dataclass(frozen=True)
class Measured:
    """An estimate with its 95 % interval over images (paired bootstrap)."""

    value: float
    low: float
    high: float
    images: int


@dataclass(frozen=True)
class Baseline:
    """The network as it is in float, and with every unit quantized.

    Attributes:
        float_loss, quantized_loss: mean loss over all images.
        float_metric, quantized_metric: the task metric, higher is better; None when there is none.
        metric: its name ("mIoU", "top-1", "evaluate"); empty when there is none.
        images: images both were measured on.
        units: number of units.
    """

    float_loss: float
    quantized_loss: float
    float_metric: float | None
    quantized_metric: float | None
    metric: str
    images: int
    units: int


class Judge(Protocol):
    """How bad a network with some units quantized is."""

    @property
    def units(self) -> tuple[Unit, ...]:
        """All units of the network."""

    @property
    def baseline(self) -> Baseline:
        """Neither side of the comparison is ever measured again."""

    def prepare(self, sets: Sequence[frozenset[str]], images: int | None = None) -> None:
        """Measure several sets at once, which shares what they have in common; `damage` then knows them.

        Args:
            images: see `damage`.
        """

    def damage(self, quantized: frozenset[str], images: int | None = None) -> Measured:
        """How much worse than FP32 the network is with exactly the units named in `quantized` quantized.

        In the unit of the configured tolerance (for kind `loss`, the loss itself); positive is worse.

        Args:
            quantized: unit names; all other units are float.
            images: measure on that many, spread over the data; None for all.
        """

    def met(self, found: Measured) -> bool:
        """Whether its value is within the tolerance."""


@dataclass(frozen=True)
class UnitScore:
    """What was found about one unit.

    Attributes:
        unit: its name.
        scores: by name: "snr_db", "cosine" and "kl", or "taylor", of the screen.
        exact: damage on the images it was judged by; None when the screen alone ranked it.
    """

    unit: str
    scores: Mapping[str, Measured | float]
    exact: Measured | None = None


@dataclass(frozen=True)
class Ranking:
    """All units, the most harmful first, and what the ranking cost."""

    units: tuple[UnitScore, ...]
    cost: Mapping[str, float] = field(default_factory=dict)
