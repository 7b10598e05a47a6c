"""Findings that no pair fixes: parts that are slow or imprecise by nature of the network or its weights' scales."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from deploy.apps.lint.finding import FUSIONS, PLACEMENT, TENSOR_CORES, Finding
from deploy.graph.opgraph import ACTIVATIONS, WEIGHTED, Edge, Node, OpGraph, weight_axis
from deploy.placement.rules import gates, weighted
from deploy.placement.rules.base import Rule
from deploy.plan.scale import Scale

LANES = 32  # channels that an INT8 tensor-core format packs together
_SHARES = ("Sigmoid", "HardSigmoid", "Clip")
_BETWEEN = {"Add", "BatchNormalization", "Clip", "Conv", "Div", "Gemm", "HardSigmoid", "HardSwish", "Mul", "Relu"}
_BETWEEN |= {"Reshape", "Sigmoid", "Squeeze", "Unsqueeze"}
_MEANS = ("GlobalAveragePool", "ReduceMean")


def nature_findings(view: OpGraph, kept: Mapping[Edge, Rule], scales: Mapping[str, Scale]) -> Iterator[Finding]:
    """Everything that stays slow or imprecise wherever the pairs stand.

    Args:
        view: without pairs.
        kept: uses that a rule keeps in float, and the rule.
        scales: of the tensors that had a pair.
    """
    for node in view.nodes:
        if node.kind == "Mul" and _is_squeeze_excite(view, node):
            why = "a squeeze-and-excitation product is a float kernel between INT8 ones: two conversions of a whole map"
            yield Finding("info", "squeeze-excite", node.name, f"{why}; {gates.RULE.reason}", gates.RULE.source)
        if node.kind not in WEIGHTED or not view.is_constant(node.inputs[1]):
            continue
        rule = kept.get(Edge(node.inputs[0], node.name, 0))
        if rule is not None:
            yield Finding("info", f"no-kernel:{rule.name}", node.name, rule.reason, rule.source)
        shape = view.constants[node.inputs[1]]
        if node.kind == "MatMul" and len(shape) != 2:
            why = (
                f"a constant of {len(shape)} dimensions has no output channels that all products share: it stays float"
            )
            yield Finding("info", "batched-weight", node.name, why, weighted.RULE.source)
            continue
        scale = scales.get(node.inputs[1])
        if scale is not None and scale.axis is None and shape[weight_axis(node)] > 1:
            why = "one scale for the whole weight: a scale for each output channel costs no time and rounds less"
            yield Finding("info", "per-tensor-weight", node.name, why, weighted.RULE.source)
        outputs = shape[weight_axis(node)]
        if node.kind != "Gemm" and rule is None and outputs % LANES:
            why = f"{outputs} output channels are padded to a multiple of {LANES}"
            yield Finding("info", "channels", node.name, why, TENSOR_CORES)
        reader = view.only_reader(node.outputs[0])
        if node.kind == "ConvTranspose" and reader is not None and reader.kind in ACTIVATIONS:
            why = f"{reader.name} behind it is a kernel of its own: no fusion of a deconvolution and an activation"
            yield Finding("info", "deconvolution-activation", node.name, why, FUSIONS)
        if reader is not None and reader.kind == "BatchNormalization":
            why = f"{reader.name} is not folded into it; what stands between them is computed in float"
            yield Finding("warning", "batch-norm", node.name, why, f"{FUSIONS}; {PLACEMENT}")


def _is_squeeze_excite(view: OpGraph, node: Node) -> bool:
    """Return True if one factor is a share of each channel, computed from the means of the other."""
    for index, gate in enumerate(node.inputs):
        maker = view.producer(gate)
        if maker is None or maker.kind not in (*_SHARES, "Div", "Mul"):
            continue
        while maker is not None and maker.kind in _BETWEEN:
            maker = view.producer(maker.inputs[0])
        if maker is not None and maker.kind in _MEANS and maker.inputs[0] == node.inputs[1 - index]:
            return True
    return False
