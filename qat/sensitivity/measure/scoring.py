"""Loss, metric and damage of anything that maps images to outputs: an engine, or a model whose weights changed."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from qat.sensitivity.measure.bootstrap import mean, measured
from qat.sensitivity.measure.judge import ImageJudge
from qat.sensitivity.measure.probes import FLOAT
from qat.sensitivity.measure.task import Evidence, counts_of, evidence, metric_value
from qat.sensitivity.types import Measured
from qat.sensitivity.user.data import Loader
from qat.tracing.inputs import apply


class Scorer:
    """Measures on all images of a judge, as the judge itself does, but never keeps a result."""

    def __init__(self, judge: ImageJudge) -> None:
        self._judge, self._probes = judge, judge.probes
        self._indices = tuple(range(len(judge.probes.images)))

    def score(self, model: nn.Module) -> tuple[float, float | None]:
        """Mean loss and metric."""
        found = self._evidence(model)
        ones = np.ones((1, len(found)))
        loss = float(mean(np.array([item.loss for item in found]), ones)[0])
        metric = self._probes.metric
        if metric == "evaluate" and self._probes.evaluate is not None:
            with torch.no_grad():
                return loss, float(self._probes.evaluate(model, Loader(self._probes.images, self._indices)))
        return loss, float(metric_value(metric, counts_of(found), ones)[0]) if metric else None

    def damage(self, model: nn.Module) -> Measured:
        """Against the float network that the analysis began with, in the unit of the tolerance."""
        baseline = self._judge.baseline
        if self._probes.metric == "evaluate" and self._judge.by_metric:
            _, metric = self.score(model)
            assert metric is not None and baseline.float_metric is not None
            value = (baseline.float_metric - metric) / self._judge.share
            return Measured(value, value, value, len(self._indices))
        reference = self._probes.of(FLOAT, self._indices)
        statistic = self._judge.statistic(reference, self._evidence(model), self._judge.config.tolerance_kind == "loss")
        return measured(statistic, len(self._indices), self._judge.config.seed)

    def per_class(self, quantized: frozenset[str]) -> dict[str, float | None]:
        """IoU in percent by class number with these units quantized; empty where mIoU is not the metric."""
        if self._probes.metric != "mIoU":
            return {}
        self._probes.measure([quantized], self._indices, "counts", "class by class")
        counts = counts_of(self._probes.of(quantized, self._indices)).sum(axis=0)
        labelled, predicted, correct = counts.sum(axis=1), counts.sum(axis=0), counts.diagonal()
        union = labelled + predicted - correct
        return {
            str(index): 100 * float(correct[index] / union[index]) if labelled[index] else None
            for index in range(len(counts))
        }

    def _evidence(self, model: nn.Module) -> list[Evidence]:
        """Of every image; the model's mode is its own business."""
        images, metric = self._probes.images, self._probes.metric
        found: list[Evidence] = []
        with torch.no_grad():
            for chunk in images.chunks(self._indices):
                inputs, target = self._probes.inputs(chunk)
                output = apply(model, inputs)
                counted = "" if metric == "evaluate" else metric
                found += evidence(output, target, self._probes.criterion, counted, len(chunk))
        return found
