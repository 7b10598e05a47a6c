"""Evaluates how much worse than FP32 a network with some quantized groups is, in the unit of the tolerance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from core.errors import UserError
from qat.sensitivity.config import SensitivityConfig
from qat.sensitivity.measure.bootstrap import measured
from qat.sensitivity.measure.task import Evidence, counts_of, evidence, losses_of, mean_loss, metric_value
from qat.sensitivity.measure.trials import FLOAT, Trials, Wanted
from qat.sensitivity.types import Baseline, Measured, QuantizerGroup
from qat.tasks.bootstrap import Statistic, mean, multiplicities
from qat.tasks.metrics import class_ious
from qat.tracing.inputs import apply

FOLDS = 8  # folds of the images, each scored by the user's `evaluate`, for its interval


class ImageEvaluator:
    """Damage of any set of quantized groups: measures FP32 and all-quantized first, then any set once.

    Attributes:
        share: the divisor of a drop of the metric: FP32's metric on all images for `metric_relative`, else 1.
    """

    def __init__(self, trials: Trials, config: SensitivityConfig) -> None:
        """
        Raises:
            UserError: the tolerance needs a metric and there is none, or it is a share of a metric that is 0.
        """
        self.trials, self.config = trials, config
        self.by_metric = config.tolerance_kind in ("metric_drop", "metric_relative")
        if self.by_metric and not trials.metric:
            raise UserError(
                f"tolerance_kind {config.tolerance_kind} needs a metric",
                why="outputs and targets fit neither a classifier nor a segmentation network",
                fix="write evaluate(model, loader) in the model file, or use tolerance_kind loss_increase",
            )
        self.groups: tuple[QuantizerGroup, ...] = trials.subject.groups
        self.everything = frozenset(group.name for group in self.groups)
        self.order: tuple[int, ...] = tuple(range(len(trials.images)))
        trials.measure([FLOAT, self.everything], self.order, "counts", "baseline")
        self.baseline = self._baseline()
        self.share = self._share()
        self.order = self._stratified()

    def prepare(self, sets: Sequence[frozenset[str]], images: int | None = None) -> None:
        """Measure several sets at once, which shares their common computation."""
        wanted: Wanted = "counts" if self.by_metric else "loss"
        self.trials.measure(sets, self.subset(images), wanted, "evaluating")

    def damage(self, quantized: frozenset[str], images: int | None = None) -> Measured:
        """Damage against FP32 with exactly these groups quantized; positive is worse.

        Its unit is that of the configured tolerance; for kind `loss`, it is the loss itself.

        Args:
            images: number of images to measure on, spread over the data; None for all.
        """
        return self.between(FLOAT, quantized, images, absolute=self.config.tolerance_kind == "loss")

    def between(
        self, reference: frozenset[str], other: frozenset[str], images: int | None = None, *, absolute: bool = False
    ) -> Measured:
        """Damage of `other` against `reference`, or the loss of `other` if `absolute`."""
        indices = self.subset(images)
        self.prepare([reference, other], images)
        if self.by_metric and self.trials.metric == "evaluate":
            return self._by_evaluate(reference, other, indices)
        both = [self.trials.of(groups, indices) for groups in (reference, other)]
        return measured(self.statistic(both[0], both[1], absolute), len(indices), self.config.seed)

    def damage_of(self, model: nn.Module) -> Measured:
        """`damage` of a model whose weights changed, against the float network; the result is not cached."""
        if self.by_metric and self.trials.metric == "evaluate":
            assert self.baseline.float_metric is not None
            value = (self.baseline.float_metric - self._evaluated(model)) / self.share
            return Measured(value, value, value, len(self.order))
        indices = tuple(range(len(self.order)))
        reference, absolute = self.trials.of(FLOAT, indices), self.config.tolerance_kind == "loss"
        return measured(self.statistic(reference, self._evidence(model), absolute), len(indices), self.config.seed)

    def score(self, model: nn.Module) -> tuple[float, float | None]:
        """Mean loss and metric of a function from images to outputs, such as an engine; the result is not cached."""
        found, metric = self._evidence(model), self.trials.metric
        if metric == "evaluate":
            return mean_loss(found), self._evaluated(model)
        value = float(metric_value(metric, counts_of(found), np.ones((1, len(found))))[0]) if metric else None
        return mean_loss(found), value

    def per_class(self, quantized: frozenset[str]) -> dict[str, float | None]:
        """IoU in percent by class number with these groups quantized; empty where mIoU is not the metric."""
        if self.trials.metric != "mIoU":
            return {}
        self.trials.measure([quantized], self.order, "counts", "class by class")
        counts = counts_of(self.trials.of(quantized, self.order)).sum(axis=0)
        return {str(index): iou for index, iou in enumerate(class_ious(counts))}

    def met(self, found: Measured) -> bool:
        """Return True if its value is within the tolerance."""
        return found.value <= self.config.tolerance

    def subset(self, images: int | None) -> tuple[int, ...]:
        """A sample of `images` images whose damage by full quantization is distributed as over all images."""
        count = len(self.order) if images is None else min(images, len(self.order))
        return tuple(sorted(self.order[index * len(self.order) // count] for index in range(count)))

    def statistic(self, reference: Sequence[Evidence], other: Sequence[Evidence], absolute: bool) -> Statistic:
        """The damage of one network's evidence against another's on the same images, for any weights of these."""
        if not self.by_metric:
            before, after = losses_of(reference), losses_of(other)
            after = np.where(np.isfinite(before), after, np.nan)  # images without labels have no loss in either
            return lambda weights: mean(after, weights) - (0.0 if absolute else mean(before, weights))
        counts = [counts_of(items) for items in (reference, other)]

        def drop(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            was, now = (metric_value(self.trials.metric, item, weights) for item in counts)
            return (was - now) / self.share

        return drop

    def _evaluated(self, model: nn.Module) -> float:
        assert self.trials.evaluate is not None
        with torch.no_grad():
            return float(self.trials.evaluate(model, self.trials.images.loader(range(len(self.order)))))

    def _evidence(self, model: nn.Module) -> list[Evidence]:
        """Evidence of every image, in the model's current mode."""
        trials, found = self.trials, list[Evidence]()
        with torch.no_grad():
            for chunk in trials.images.chunks(range(len(self.order))):
                inputs, target = trials.inputs(chunk)
                found += evidence(apply(model, inputs), target, trials.criterion, trials.counted, len(chunk))
        return found

    def _stratified(self) -> tuple[int, ...]:
        """All images by the increase of their loss under full quantization, the smallest first."""
        plain, full = (losses_of(self.trials.of(groups, self.order)) for groups in (FLOAT, self.everything))
        harm = np.nan_to_num(full - plain, nan=0.0, posinf=0.0, neginf=0.0)
        return tuple(int(index) for index in np.argsort(harm, kind="stable"))

    def _by_evaluate(self, reference: frozenset[str], other: frozenset[str], indices: tuple[int, ...]) -> Measured:
        """An estimate: the value from one call on all images, its interval from the spread of the folds."""

        def drop(chosen: Sequence[int]) -> float:
            was, now = (self.trials.evaluated(groups, chosen) for groups in (reference, other))
            return (was - now) / self.share

        value = drop(indices)
        folds = min(FOLDS, len(indices))
        if folds < 2:
            return Measured(value, value, value, len(indices))
        drops = np.array([drop(indices[fold::folds]) for fold in range(folds)])
        spread = mean(drops, multiplicities(folds, self.config.seed)) - drops.mean()
        low, high = np.nanpercentile(spread, (2.5, 97.5))
        return Measured(value, value + min(float(low), 0.0), value + max(float(high), 0.0), len(indices))

    def _share(self) -> float:
        """The divisor of a drop of the metric, for every set of images: the metric of a few images may be 0."""
        if self.config.tolerance_kind != "metric_relative":
            return 1.0
        if not self.baseline.float_metric:
            raise UserError(
                "tolerance_kind metric_relative: the metric of the float network is 0",
                why="a relative drop from 0 is undefined",
                fix="check model_path and the labels, or use metric_drop",
            )
        return abs(self.baseline.float_metric)

    def _baseline(self) -> Baseline:
        sets, metric = (FLOAT, self.everything), self.trials.metric
        both = [self.trials.of(groups, self.order) for groups in sets]
        scores: list[float | None] = [None, None]
        if metric == "evaluate":
            scores = [self.trials.evaluated(groups, self.order) for groups in sets]
        elif metric:
            ones = np.ones((1, len(self.order)))
            scores = [float(metric_value(metric, counts_of(items), ones)[0]) for items in both]
        losses = [mean_loss(items) for items in both]
        if not np.isfinite(losses[0]):
            raise UserError("the float network's loss is not a number", fix="check get_criterion() and model_path")
        return Baseline(losses[0], losses[1], scores[0], scores[1], metric, len(self.order), len(self.groups))
