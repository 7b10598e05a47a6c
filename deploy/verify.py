"""Check that a placed graph is what every engine wants, before minutes are spent on building it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs

from core.errors import UserError
from deploy import onnx_graph
from deploy.opgraph import WEIGHTED, commutes
from deploy.placement import Placement
from deploy.qdq import DEQUANTIZE, QMAX, QUANTIZE

SHOWN = 5


@dataclass(frozen=True)
class Violation:
    """One broken invariant and the node that breaks it."""

    invariant: str
    node: str
    detail: str


def verify(path: Path, expected: Placement) -> None:
    """Raise `UserError` naming the first violations, if `path` breaks an invariant or lost a Q/DQ pair."""
    graph = onnx_graph.load(path)
    found = [*violations(graph), *_unequal_groups(graph, expected), *_lost_pairs(graph, expected)]
    if found:
        lines = "; ".join(f"{item.node}: {item.invariant} ({item.detail})" for item in found[:SHOWN])
        raise UserError(f"{path} breaks {len(found)} Q/DQ invariants", why=lines, fix="please report the model")


def violations(graph: gs.Graph) -> Iterator[Violation]:
    """Every broken invariant of a Q/DQ graph: symmetric int8, one pair a tensor, nothing on biases and outputs."""
    pairs: dict[str, str] = {}
    for node in graph.nodes:
        if node.op in (QUANTIZE, DEQUANTIZE):
            yield from _parameters(node)
        if node.op == QUANTIZE:
            source = node.inputs[0].name
            if source in pairs:
                yield Violation("one Q/DQ pair per tensor", node.name, f"{pairs[source]} quantizes {source} too")
            pairs[source] = node.name
            readers = {reader.op for reader in node.outputs[0].outputs}
            if readers != {DEQUANTIZE}:
                yield Violation("a Q feeds only its DQ", node.name, f"readers: {sorted(readers)}")
        if node.op == DEQUANTIZE:
            if node.outputs[0] in graph.outputs:
                yield Violation("graph outputs stay float", node.name, node.outputs[0].name)
            yield from _stored_weight(node)
        if node.op in WEIGHTED:
            yield from _operands(node)


def _parameters(node: gs.Node) -> Iterator[Violation]:
    scale = node.inputs[1].values
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        yield Violation("scales are finite and positive", node.name, f"min {scale.min()}, max {scale.max()}")
    zero_point = node.inputs[2].values if len(node.inputs) > 2 else None
    if zero_point is None or zero_point.dtype != np.int8 or zero_point.any():
        yield Violation("symmetric int8", node.name, "the zero-point is not int8 zero")


def _stored_weight(node: gs.Node) -> Iterator[Violation]:
    values = node.inputs[0]
    if isinstance(values, gs.Constant) and int(values.values.min()) < -QMAX:
        yield Violation("weights use the narrow range", node.name, f"minimum {values.values.min()}")


def _operands(node: gs.Node) -> Iterator[Violation]:
    sources = [_behind_copies(tensor) for tensor in node.inputs]
    dequantized = [bool(tensor.inputs) and tensor.inputs[0].op == DEQUANTIZE for tensor in sources]
    if dequantized[0] != dequantized[1]:
        yield Violation("both operands are quantized or none", node.name, f"input and weight: {dequantized[:2]}")
    if len(dequantized) > 2 and dequantized[2]:
        yield Violation("biases stay float", node.name, node.inputs[2].name)
    if dequantized[0] and sources[0].inputs[0].inputs[1].values.size != 1:
        yield Violation("activations have one scale", node.name, node.inputs[0].name)


def _behind_copies(tensor: gs.Tensor) -> gs.Tensor:
    """What `tensor` is made of by ops that commute with Q/DQ, whose pair therefore stands in front of them."""
    while tensor.inputs and commutes(onnx_graph.op_node(tensor.inputs[0])):
        tensor = tensor.inputs[0].inputs[0]
    return tensor


def _unequal_groups(graph: gs.Graph, expected: Placement) -> Iterator[Violation]:
    scales = {node.inputs[0].name: node.inputs[1].values for node in graph.nodes if node.op == QUANTIZE}
    for group in expected.groups:
        found = {tensor: float(scales[tensor].max()) for tensor in group if tensor in scales}
        if len(set(found.values())) > 1:
            yield Violation("group scales are equal", next(iter(found)), f"scales: {found}")


def _lost_pairs(graph: gs.Graph, expected: Placement) -> Iterator[Violation]:
    wanted = len(expected.by_tensor) + len({item.use.tensor for item in expected.weights})
    found = sum(node.op == DEQUANTIZE for node in graph.nodes)
    if found != wanted:
        yield Violation("no Q/DQ pair goes missing", graph.name, f"{wanted} placed, {found} in the file")
