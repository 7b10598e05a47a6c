"""A placed graph as Graphviz text: INT8 operators, Q/DQ pairs, and the rules that placed them.

dot -Tsvg placed.dot -o placed.svg
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_graphsurgeon as gs

from deploy.graph.opgraph import DEQUANTIZE, QUANTIZE
from deploy.plan.plan import QuantizationPlan

INT8, FLOAT, PAIR = "#b7e1cd", "#f4f4f4", "#cfe2f3"


def to_dot(graph: gs.Graph, plan: QuantizationPlan) -> str:
    """The whole text; operators green when their first operand arrives through Q/DQ, pairs blue with their scale."""
    rules = {name: tensor.uses[0].rule for name, tensor in plan.quantized.items()}
    return "\n".join(
        ["digraph placed {", "  node [shape=box, style=filled, fontname=sans];", *_lines(graph, rules), "}", ""]
    )


def _lines(graph: gs.Graph, rules: dict[str, str]) -> Iterator[str]:
    numbers = {id(node): f"n{position}" for position, node in enumerate(graph.nodes)}
    for position, tensor in enumerate(graph.inputs):
        yield f"  i{position} [label={_quoted(tensor.name)}, shape=ellipse];"
        for reader in tensor.outputs:
            yield f"  i{position} -> {numbers[id(reader)]};"
    for node in graph.nodes:
        color, label = _look(node, rules)
        yield f'  {numbers[id(node)]} [label={_quoted(label)}, fillcolor="{color}"];'
        for tensor in node.outputs:
            for reader in tensor.outputs:
                yield f"  {numbers[id(node)]} -> {numbers[id(reader)]};"
    for position, tensor in enumerate(graph.outputs):
        yield f"  o{position} [label={_quoted(tensor.name)}, shape=ellipse];"
        for maker in tensor.inputs:
            yield f"  {numbers[id(maker)]} -> o{position};"


def _look(node: gs.Node, rules: dict[str, str]) -> tuple[str, str]:
    if node.op in (QUANTIZE, DEQUANTIZE):
        scale, source = node.inputs[1].values, node.inputs[0]
        shown = f"{float(scale.max()):.4g}" if scale.size == 1 else f"{scale.size} scales"
        kind = node.inputs[2].values.dtype.name if len(node.inputs) > 2 else "uint8"
        rule = rules.get(source.name, "") if node.op == QUANTIZE else ""
        return PAIR, "\n".join(filter(None, [node.op, f"{kind} · {shown}", rule]))
    first = node.inputs[0].inputs if node.inputs else []
    int8 = bool(first) and first[0].op == DEQUANTIZE
    return INT8 if int8 else FLOAT, f"{node.op}\n{node.name}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
