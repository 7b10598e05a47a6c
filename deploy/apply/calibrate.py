"""From a float graph and images to a quantization plan, without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from core.config import CalibrationConfig
from core.errors import UserError
from deploy.apply.target import TargetConfig
from deploy.graph import onnx_graph
from deploy.placement.planning import decide, wanted
from deploy.plan.carry import carry
from deploy.plan.histogram import Histogram
from deploy.plan.plan import OBSERVED, QuantizationPlan
from deploy.plan.scale import Scale, activation_scale, max_scale
from deploy.plan.statistics import collect
from deploy.plan.thresholds import amax_from, origin_of

Images = Sequence[NDArray[np.float32]]


@dataclass(frozen=True)
class Observed:
    """Result of one pass over the calibration images; ranges by any method follow without another pass.

    Attributes:
        histograms: of |x| by activation.
        weights: scale of each weight, its largest magnitude per output channel.
    """

    histograms: dict[str, Histogram]
    weights: dict[str, Scale]

    def plan(self, config: CalibrationConfig) -> QuantizationPlan:
        """A plan with scales by `config.method` and no uses yet."""
        ranges = {
            name: activation_scale(amax_from(found, config.method, config.percentile, config.momentum))
            for name, found in self.histograms.items()
        }
        return QuantizationPlan().adding(ranges, origin_of(config.method)).adding(self.weights, "max")


def observe(graph: gs.Graph, images: Images, goals: Iterable[TargetConfig]) -> Observed:
    """Histograms of every activation of `graph` that one of `goals` would quantize, and the scales of their weights.

    Args:
        graph: float and clean (see `deploy.graph.onnx_graph.clean`); it is not changed.
        images: network inputs, float32 (1, C, H, W) each.

    Raises:
        UserError: there are no images, they do not fit the graph, or no rule finds anything to quantize.
    """
    if not images:
        raise UserError("there are no calibration images", why="ranges are measured on images", fix="give some")
    view = onnx_graph.view(graph)
    activations: dict[str, None] = {}
    weights: dict[str, int] = {}
    for goal in goals:
        found, axes = wanted(view, goal.rules or (), goal.skip)
        activations |= dict.fromkeys(found)
        weights |= axes
    if not activations:
        raise UserError(
            "no placement rule found anything to quantize",
            fix="check --skip, or placement.only, placement.skip and placement.disable",
        )
    return Observed(collect(graph, list(activations), images), weight_scales(graph, weights))


def calibrate(
    graph: gs.Graph, images: Images, goal: TargetConfig, config: CalibrationConfig, others: Iterable[TargetConfig] = ()
) -> QuantizationPlan:
    """A plan for a float graph: the ranges of its tensors by `config.method`, uses by the rules of `goal`.

    Args:
        graph: float and clean (see `deploy.graph.onnx_graph.clean`); it is not changed.
        images: network inputs, float32 (1, C, H, W) each.
        goal: the target whose uses the plan records.
        config: method, percentile and momentum of activations. Weights get their largest magnitude per output channel.
        others: further targets; tensors that only they quantize get their observed maximum.

    Raises:
        UserError: there are no images, they do not fit the graph, or no rule finds anything to quantize.
    """
    plan = observe(graph, images, [goal]).plan(config)
    plan, _ = decide(onnx_graph.view(graph), plan, goal.rules or (), goal.skip)
    return complete(plan, graph, images, others)


def complete(
    plan: QuantizationPlan, graph: gs.Graph, images: Images, goals: Iterable[TargetConfig]
) -> QuantizationPlan:
    """`plan` with the scales that further targets need: maxima on `images`, and of weights per output channel.

    A target may name a tensor that only its own rewrites make; its scale joins the plan under that name.
    """
    for goal in goals:
        rewritten, carried = graph.copy(), plan
        for step in goal.target.rewrites:
            rewritten, carried = step(rewritten, carried)
        view = onnx_graph.view(rewritten)
        known = carry(view, carried).tensors
        activations, weights = wanted(view, goal.rules or (), goal.skip)
        missing = [name for name in activations if name not in known]
        if missing:
            found = collect(rewritten, missing, images)
            plan = plan.adding({name: activation_scale(item.amax) for name, item in found.items()}, OBSERVED)
        lacking = {name: axis for name, axis in weights.items() if name not in known and name in graph.tensors()}
        plan = plan.adding(weight_scales(graph, lacking), "max")
    return plan


def weight_scales(graph: gs.Graph, axes: Mapping[str, int]) -> dict[str, Scale]:
    """One scale for each slice of a weight along its axis, which makes the largest magnitude 127 steps."""
    tensors = graph.tensors()
    return {name: max_scale(tensors[name].values, axis) for name, axis in axes.items()}
