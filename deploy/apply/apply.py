"""`apply(float graph, plan, target)`: the only writer of Q/DQ nodes, as a list of passes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import onnx_graphsurgeon as gs

from deploy.apply.fp16 import fallback_to_fp16
from deploy.apply.insert import insertion
from deploy.apply.int16_sums import INT16_SUMS
from deploy.apply.number_formats import number_formats
from deploy.apply.passes import IS_DECIDED, IS_FLOAT, Pass
from deploy.apply.target import TargetConfig
from deploy.graph import onnx_graph
from deploy.placement.planning import decide
from deploy.plan.picture import PIXELS
from deploy.plan.plan import QuantizationPlan
from deploy.rewrites.pixel_stem import pixel_stem


@dataclass(frozen=True)
class Applied:
    """The result of `apply`.

    Attributes:
        graph: the ONNX graph with Q/DQ, in the target's number formats and fallback precision.
        plan: uses, groups and skips by the target's rules; its tensors without uses were not needed.
        widened: tensors whose scale became the larger one of the group that they share it with.
    """

    graph: gs.Graph
    plan: QuantizationPlan
    widened: tuple[str, ...]

    @property
    def unused(self) -> tuple[str, ...]:
        """Tensors that have a scale but no quantized use and no group."""
        return tuple(sorted(name for name, item in self.plan.tensors.items() if not item.uses and not item.group))


def apply(graph: gs.Graph, plan: QuantizationPlan, goal: TargetConfig) -> Applied:
    """Rewrite, decide, insert, choose number formats, then cast the part that stays in float.

    Args:
        graph: float and clean (see `deploy.graph.onnx_graph.clean`); it is not changed.
        plan: scales of its tensors.
        goal: the target, its rules and the user's restrictions.

    Raises:
        UserError: a weight's scales lie along another axis than INT8 kernels take.
    """
    graph = graph.copy()
    widened: list[str] = []
    for step in passes(goal, widened):
        graph, plan = step(graph, plan)
    return Applied(graph, plan, tuple(widened))


def decided(graph: gs.Graph, plan: QuantizationPlan, goal: TargetConfig) -> QuantizationPlan:
    """The plan with the uses and the scales that the target's graph will have, on the graph before its rewrites."""
    plan, _ = decide(onnx_graph.view(graph), plan, goal.rules or (), goal.skip)
    return INT16_SUMS(graph, plan)[1] if goal.target.sums == "int16" else plan


def passes(goal: TargetConfig, widened: list[str]) -> list[Pass]:
    """The passes of a target in order; the placement pass adds the tensors whose scale grew to `widened`."""

    def place(graph: gs.Graph, plan: QuantizationPlan) -> tuple[gs.Graph, QuantizationPlan]:
        if goal.rules is None:
            return graph, plan
        decided, grown = decide(onnx_graph.view(graph), plan, goal.rules, goal.skip)
        widened.extend(grown)
        of_network = tuple(skip for skip in decided.skips if not skip.node.startswith(f"{PIXELS}/"))
        return graph, decided.model_copy(update={"skips": of_network})

    target = goal.target
    found = [
        Pass("pixel stem", partial(pixel_stem, block=target.block), requires=(IS_FLOAT,), ensures=(IS_FLOAT,)),
        *target.rewrites,
        Pass("place", place, requires=(IS_FLOAT,), ensures=(IS_DECIDED,)),
        *([INT16_SUMS] if target.sums == "int16" else []),
        insertion(goal.weights),
        number_formats(target.unsigned, target.floors),
    ]
    return [*found, fallback_to_fp16()] if target.fallback == "fp16" else found
