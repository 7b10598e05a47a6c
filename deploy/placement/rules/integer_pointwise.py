"""Every operator that an engine has an integer kernel for stands between pairs: INT8 goes in and INT8 comes out.

    before   x ─▶ Q ─▶ DQ ─▶ Conv ─▶ Relu ─▶ Add ─▶ Q ─▶ DQ ─▶ Conv

    after    x ─▶ Q ─▶ DQ ─▶ Conv ─▶ Relu ─▶ Q ─▶ DQ ─▶ Add ─▶ Q ─▶ DQ ─▶ Conv

ONNX Runtime's CPU kernels are single integer operators (QLinearConv, QLinearAdd, ...), each made from one operator and
all the pairs around it; where one pair is missing, the operator computes in float. A Relu whose result is quantized
from zero upwards disappears into the operator before it.

Inputs of operators with weights are left to `weighted-ops`, which checks that the weight can be INT8, too.

Look-alikes left alone: an operator whose result is a graph output, and an operator with a constant operand, which would
need another pair.
"""

from __future__ import annotations

from deploy.graph.opgraph import ACTIVATIONS, WEIGHTED, Node, OpGraph
from deploy.placement.rules.base import Match, Rule, Skip, Verdict, input_edge

# Sigmoid, Concat and average pools have integer kernels, too, but adding pairs for them made PIDNet-S slower.
KERNELS = frozenset({"Add", "Conv", "Gemm", "Mul", "Resize"})
OPERANDS = {"Conv": 1, "Gemm": 1, "Resize": 1}  # indices of the activation inputs, where not all inputs are activations


def _match(graph: OpGraph, node: Node) -> Verdict:
    if node.kind not in KERNELS:
        return None
    operands = range(OPERANDS.get(node.kind, len(node.inputs)))
    if any(graph.is_constant(node.inputs[index]) for index in operands):
        return Skip("one operand is constant")
    result = _behind_activation(graph, node.outputs[0])
    if result in graph.outputs:
        return Skip("its result is a graph output and stays float")
    own = () if node.kind in WEIGHTED else tuple(input_edge(node, index) for index in operands)
    readers = (edge for edge in graph.uses(result) if graph.node(edge.node).kind not in WEIGHTED)
    return Match(edges=(*own, *readers))


def _behind_activation(graph: OpGraph, tensor: str) -> str:
    reader = graph.only_reader(tensor)
    return reader.outputs[0] if reader is not None and reader.kind in ACTIVATIONS else tensor


RULE = Rule(
    name="integer-pointwise",
    reason="an integer kernel is made of one operator and the pairs on all its sides; without one it computes in float",
    source="ONNX Runtime documentation, Quantize ONNX models: QDQ format; onnxruntime QDQ selectors and actions",
    match=_match,
)
