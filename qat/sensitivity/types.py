"""The words of the sensitivity analysis: quantizer groups, measurements, a ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Part = Literal["both", "weight", "activation"]
Form = Literal["fx", "layers", "given"]  # quantized by the placement rules, layer by layer, by the user
ToleranceKind = Literal["loss_increase", "loss", "metric_drop", "metric_relative"]
DAMAGE_TITLES: Mapping[ToleranceKind, str] = {
    "loss_increase": "rise of the loss over FP32",
    "loss": "loss",
    "metric_drop": "drop of the metric below FP32",
    "metric_relative": "drop of the metric below FP32, share of it",
}
SCORE_TITLES = {"snr_db": "SNR, dB", "taylor": "Taylor", "cosine": "cosine", "kl": "KL"}  # first by what a screen ranks


@dataclass(frozen=True)
class QuantizerGroup:
    """Quantizers that can only be switched together.

    Attributes:
        name: unique among the groups of a model.
        quantizers: module paths of the quantizers.
        part: they quantize weights, activations or both.
        layers: node names that `placement.skip` would list to leave the group in float.
        tensors: nodes whose outputs are quantized, all inputs of a Concat if they share a quantizer; empty where the
            network is not a graph.
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
    """A group's name and how many more layers it has: "conv1.3 +2", or "layer1 (4 layers)" of a block."""
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

    def __str__(self) -> str:
        return f"damage {self.value:.4g} [{self.low:.4g}, {self.high:.4g}] on {self.images} images"


@dataclass(frozen=True)
class Baseline:
    """The network as it is in float, and with every group quantized.

    Attributes:
        float_loss, quantized_loss: mean loss over all images.
        float_metric, quantized_metric: the task metric, higher is better; None when there is none.
        metric: its name ("mIoU", "top-1", "evaluate"); empty when there is none.
        images: images both were measured on.
        groups: number of groups.
    """

    float_loss: float
    quantized_loss: float
    float_metric: float | None
    quantized_metric: float | None
    metric: str
    images: int
    groups: int


@dataclass(frozen=True)
class GroupScore:
    """Scores and damage of one group.

    Attributes:
        group: its name.
        scores: of the screen, by name: "snr_db", "cosine" and "kl", or "taylor".
        exact: damage on the images it was measured on; None when the screen alone ranked it.
    """

    group: str
    scores: Mapping[str, Measured]
    exact: Measured | None = None


@dataclass(frozen=True)
class Ranking:
    """All groups, the most harmful first, and the evaluations of all images that the ranking executed."""

    groups: tuple[GroupScore, ...]
    full_evaluations: float = 0.0
