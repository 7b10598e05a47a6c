"""How much worse than FP32 a network with some units quantized is, in the unit of the tolerance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from qat.sensitivity.config import SensitivityConfig
from qat.sensitivity.measure.bootstrap import Statistic, mean, measured, multiplicities
from qat.sensitivity.measure.probes import FLOAT, Probes, Wanted
from qat.sensitivity.measure.task import Evidence, counts_of, metric_value
from qat.sensitivity.types import Baseline, Measured, Unit

FOLDS = 8  # of the images, each scored by the user's `evaluate`, for its interval


class ImageJudge:
    """The `Judge` of images: measures FP32 and all-quantized first, then any set once.

    Attributes:
        share: what a drop of the metric is divided by: FP32's metric on all images for `metric_relative`, else 1.
    """

    def __init__(self, probes: Probes, config: SensitivityConfig) -> None:
        """
        Raises:
            UserError: the tolerance is of a metric, and there is none, or is a share of one that is 0.
        """
        self.probes, self.config = probes, config
        self.by_metric = config.tolerance_kind in ("metric_drop", "metric_relative")
        if self.by_metric and not probes.metric:
            raise UserError(
                f"tolerance_kind {config.tolerance_kind} needs a metric",
                why="outputs and targets are neither those of a classifier nor of a segmentation network",
                fix="write evaluate(model, loader) in the model file, or use tolerance_kind loss_increase",
            )
        self.units: tuple[Unit, ...] = probes.subject.units
        self.everything = frozenset(unit.name for unit in self.units)
        self.order: tuple[int, ...] = tuple(range(len(probes.images)))
        probes.measure([FLOAT, self.everything], self.order, "counts", "baseline")
        self.baseline = self._baseline()
        self.share = self._metric_unit()
        self.order = self._stratified()

    def prepare(self, sets: Sequence[frozenset[str]], images: int | None = None) -> None:
        """See `Judge.prepare`."""
        self.probes.measure(sets, self.subset(images), self._wanted(), "evaluating")

    def damage(self, quantized: frozenset[str], images: int | None = None) -> Measured:
        """See `Judge.damage`."""
        return self.between(FLOAT, quantized, images, absolute=self.config.tolerance_kind == "loss")

    def between(
        self, reference: frozenset[str], other: frozenset[str], images: int | None = None, *, absolute: bool = False
    ) -> Measured:
        """How much worse `other` is than `reference`, or the loss of `other` if `absolute`."""
        indices = self.subset(images)
        self.probes.measure([reference, other], indices, self._wanted(), "evaluating")
        if self.by_metric and self.probes.metric == "evaluate":
            return self._by_evaluate(reference, other, indices)
        both = [self.probes.of(units, indices) for units in (reference, other)]
        return measured(self.statistic(both[0], both[1], absolute), len(indices), self.config.seed)

    def met(self, found: Measured) -> bool:
        """See `Judge.met`."""
        return found.value <= self.config.tolerance

    def _wanted(self) -> Wanted:
        return "counts" if self.by_metric else "loss"

    def subset(self, images: int | None) -> tuple[int, ...]:
        """`images` of them whose damage by full quantization is spread as it is over all."""
        count = len(self.order) if images is None else min(images, len(self.order))
        return tuple(sorted(self.order[index * len(self.order) // count] for index in range(count)))

    def _stratified(self) -> tuple[int, ...]:
        """All images by what full quantization does to their loss, the least harmed first."""
        plain, full = (_losses(self.probes.of(units, self.order)) for units in (FLOAT, self.everything))
        harm = np.nan_to_num(full - plain, nan=0.0, posinf=0.0, neginf=0.0)
        return tuple(int(index) for index in np.argsort(harm, kind="stable"))

    def statistic(self, reference: Sequence[Evidence], other: Sequence[Evidence], absolute: bool) -> Statistic:
        """The damage of one network's evidence against another's on the same images, for any weights of these."""
        if not self.by_metric:
            before, after = _losses(reference), _losses(other)
            after = np.where(np.isfinite(before), after, np.nan)  # an image without labels has no loss in either
            return lambda weights: mean(after, weights) - (0.0 if absolute else mean(before, weights))
        counts = [counts_of(items) for items in (reference, other)]

        def drop(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            was, now = (metric_value(self.probes.metric, item, weights) for item in counts)
            return (was - now) / self.share

        return drop

    def _by_evaluate(self, reference: frozenset[str], other: frozenset[str], indices: tuple[int, ...]) -> Measured:
        """The value from one call on all images, its interval from the spread of the folds."""

        def drop(chosen: Sequence[int]) -> float:
            was, now = (self.probes.evaluated(units, chosen) for units in (reference, other))
            return (was - now) / self.share

        value = drop(indices)
        folds = min(FOLDS, len(indices))
        if folds < 2:
            return Measured(value, value, value, len(indices))
        drops = np.array([drop(indices[fold::folds]) for fold in range(folds)])
        spread = mean(drops, multiplicities(folds, self.config.seed)) - drops.mean()
        low, high = np.nanpercentile(spread, (2.5, 97.5))
        return Measured(value, value + min(float(low), 0.0), value + max(float(high), 0.0), len(indices))

    def _metric_unit(self) -> float:
        """What a drop of the metric is divided by, in every set of images: few of them may have a metric of 0."""
        if self.config.tolerance_kind != "metric_relative":
            return 1.0
        if not self.baseline.float_metric:
            raise UserError(
                "tolerance_kind metric_relative: the metric of the float network is 0",
                fix="check model_path and the labels, or use metric_drop",
            )
        return abs(self.baseline.float_metric)

    def _baseline(self) -> Baseline:
        plain, full = (self.probes.of(units, self.order) for units in (FLOAT, self.everything))
        ones = np.ones((1, len(self.order)))
        metric = self.probes.metric
        scores: list[float | None] = [None, None]
        if metric == "evaluate":
            scores = [self.probes.evaluated(units, self.order) for units in (FLOAT, self.everything)]
        elif metric:
            counts = [counts_of(items) for items in (plain, full)]
            scores = [float(metric_value(metric, item, ones)[0]) for item in counts]
        losses = [float(mean(_losses(items), ones)[0]) for items in (plain, full)]
        if not np.isfinite(losses[0]):
            raise UserError("the float network's loss is not a number", fix="check get_criterion() and model_path")
        return Baseline(losses[0], losses[1], scores[0], scores[1], metric, len(self.order), len(self.units))


def _losses(items: Sequence[Evidence]) -> NDArray[np.float64]:
    return np.array([item.loss for item in items])
