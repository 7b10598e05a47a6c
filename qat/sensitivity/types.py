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
SCORE_TITLES = {"snr_db": "SNR, dB", "taylor": "Taylor", "cosine": "cosine", "kl": "KL"}  # screens rank by the first

SHARING = ("tensors", "channels")  # faults of a scale that serves several; engines can avoid the first


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
class Cause:
    """The faults of one group that is quantized alone, and its remedies; see `qat.sensitivity.measure.causes`.

    Attributes:
        group: its name.
        noise: energy of the output's error over that of the output.
        without: by fault, the noise that is left when the fault alone is taken away.
        mends: by change that an engine can have, the noise that is left.
    """

    group: str
    noise: float
    without: Mapping[str, float]
    mends: Mapping[str, float]

    @property
    def fault(self) -> str:
        """The one that does most of the damage: a shared scale where it does half of it, else clipping or rounding."""
        sharing = [name for name in SHARING if self.without.get(name, self.noise) <= self.noise / 2]
        return sharing[0] if sharing else min(("clipping", "rounding"), key=lambda name: self.without[name])

    @property
    def share(self) -> float:
        """The part of the noise that goes with that fault; negative where it hides another's."""
        return 1 - self.without[self.fault] / self.noise

    @property
    def mend(self) -> str:
        """The best change of ranges, or "float" where none takes away half of the noise."""
        best = min(self.mends, key=lambda name: self.mends[name], default=None)
        return best if best is not None and self.mends[best] <= self.noise / 2 else "float"

    def __str__(self) -> str:
        left = f" leaves {self.mends[self.mend] / self.noise:.0%}" if self.mend in self.mends else ""
        return f"{self.fault} does {self.share:.0%} of the damage, remedy: {self.mend}{left}"


@dataclass(frozen=True)
class Ranking:
    """All groups, the most harmful first, and the evaluations of all images that the ranking executed."""

    groups: tuple[GroupScore, ...]
    full_evaluations: float = 0.0
