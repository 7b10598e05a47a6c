"""A pass: one step from a float graph and a plan to the graph that an engine is built from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from deploy.graph.opgraph import DEQUANTIZE, QUANTIZE
from deploy.plan.plan import QuantizationPlan

Step = Callable[[gs.Graph, QuantizationPlan], tuple[gs.Graph, QuantizationPlan]]


@dataclass(frozen=True)
class Condition:
    """A statement about a graph and its plan; `holds` is checked before or after a pass."""

    says: str
    holds: Callable[[gs.Graph, QuantizationPlan], bool]


@dataclass(frozen=True)
class Pass:
    """One step and its contract.

    Attributes:
        name: shown when a condition is broken.
        run: takes the graph and the plan and returns both; it may change the graph in place.
        requires: conditions that must hold before.
        ensures: conditions that hold after.
    """

    name: str
    run: Step
    requires: tuple[Condition, ...] = ()
    ensures: tuple[Condition, ...] = ()

    def __call__(self, graph: gs.Graph, plan: QuantizationPlan) -> tuple[gs.Graph, QuantizationPlan]:
        """Run the step and check its conditions; a broken condition is an error of this project, not of the user."""
        self._check("requires", self.requires, graph, plan)
        graph, plan = self.run(graph, plan)
        self._check("ensures", self.ensures, graph, plan)
        return graph, plan

    def _check(self, kind: str, conditions: Iterable[Condition], graph: gs.Graph, plan: QuantizationPlan) -> None:
        for condition in conditions:
            if not condition.holds(graph, plan):
                raise AssertionError(f"pass {self.name} {kind}: {condition.says}")


def _pairs(graph: gs.Graph) -> int:
    return sum(node.op == DEQUANTIZE for node in graph.nodes)


IS_FLOAT = Condition(
    "no Q/DQ node is in the graph", lambda graph, _: not any(node.op in (QUANTIZE, DEQUANTIZE) for node in graph.nodes)
)
IS_DECIDED = Condition(
    "every use of the plan reads its tensor in the graph",
    lambda graph, plan: _uses_match(graph, plan),
)
IS_INSERTED = Condition(
    "the graph has one DequantizeLinear for each quantized tensor",
    lambda graph, plan: _pairs(graph) == len(plan.quantized),
)


def _uses_match(graph: gs.Graph, plan: QuantizationPlan) -> bool:
    nodes = {node.name: node for node in graph.nodes}
    return all(
        use.node in nodes and nodes[use.node].inputs[use.input].name == name
        for name, tensor in plan.quantized.items()
        for use in tensor.uses
    )
