"""A placement rule of your own: the mean over an axis, as in front of a transformer's head, gets an INT8 input.

    before   x ─────────────▶ ReduceMean ─▶ y

    after    x ─▶ Q ─▶ DQ ──▶ ReduceMean ─▶ y

Switch it on in the config with

    placement:
      custom: [examples/custom_rule.py]

Look-alike left alone: the mean of a constant, which folds away.
"""

from deploy.graph.opgraph import Node, OpGraph
from deploy.placement.rules.base import Match, Rule, Skip, Verdict, input_edge


def _match(graph: OpGraph, node: Node) -> Verdict:
    if node.kind != "ReduceMean":
        return None
    if graph.is_constant(node.inputs[0]):
        return Skip("the input is constant")
    return Match(edges=(input_edge(node, 0),))


RULES = (
    Rule(
        name="means",
        reason="OpenVINO reads INT8 in the kernel of a mean, which moves a quarter of the bytes",
        source="OpenVINO, Low Precision Transformations: ReduceMeanTransformation",
        match=_match,
    ),
)
