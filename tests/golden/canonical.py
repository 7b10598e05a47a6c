"""Names that do not depend on the front end: they describe an op graph's tensors by the operators that make them."""

from __future__ import annotations

import hashlib

from deploy.graph.opgraph import WEIGHTED, Node, OpGraph, fused_into
from deploy.placement.decide import Placement, module_path


def facts(graph: OpGraph, where: Placement) -> set[tuple[str, ...]]:
    """Everything a placement decides, as tuples that are equal for FX and ONNX views of one network."""
    names = _names(graph)
    result: set[tuple[str, ...]] = set()
    for item in where.edges:
        result.add(("edge", names[item.edge.tensor], names[graph.node(item.edge.node).outputs[0]], item.rule))
    for weight in where.weights:
        result.add(("weight", names[graph.node(weight.use.node).outputs[0]], weight.rule))
    for group in where.groups:
        result.add(("group", *sorted(names[tensor] for tensor in group)))
    return result


def _names(graph: OpGraph) -> dict[str, str]:
    """Weighted ops by module path, folded BatchNorms by their convolution, other ops by kind and inputs."""
    names = dict.fromkeys(graph.inputs, "input")
    for node in graph.nodes:
        sources = [names[tensor] for tensor in node.inputs if tensor in names]
        for output in node.outputs:
            names[output] = _name(graph, node, sources)
    return names


def _name(graph: OpGraph, node: Node, sources: list[str]) -> str:
    if node.kind in WEIGHTED:
        return module_path(node.name)
    if node.kind == "Identity" or (node.kind == "BatchNormalization" and fused_into(graph, node)):
        return sources[0]
    if node.kind == "Flatten":
        return _name(graph, Node(node.name, "Reshape", node.inputs, node.outputs), sources)
    return node.kind + hashlib.sha256(repr(sources).encode()).hexdigest()[:12]
