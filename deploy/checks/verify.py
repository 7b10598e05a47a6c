"""Check a placed graph against the needs of every engine, before minutes are spent on building it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from core.errors import UserError
from deploy.apply.number_formats import Unsigned, joined
from deploy.graph import onnx_graph
from deploy.graph.opgraph import DEQUANTIZE, QUANTIZE, WEIGHTED, commutes, weight_axis
from deploy.graph.value_range import floor
from deploy.placement import partial
from deploy.plan.plan import QuantizationPlan
from deploy.plan.scale import QMAX, UINT8_MIDDLE

SHOWN = 5


@dataclass(frozen=True)
class Violation:
    """One broken invariant and the node that breaks it."""

    invariant: str
    node: str
    detail: str


def verify(path: Path, expected: QuantizationPlan, unsigned: Unsigned = "never", shown: Path | None = None) -> None:
    """Raise `UserError` naming the first violations, if `path` breaks an invariant or lost a Q/DQ pair."""
    graph = onnx_graph.load(path)
    halved = {item.node for item in expected.skips if item.rule == partial.ONE_SIDE}
    found = [*violations(graph, unsigned, halved), *_lost_pairs(graph, expected)]
    found = found or list(_unequal_groups(graph, expected))
    if found:
        lines = "; ".join(f"{item.node}: {item.invariant} ({item.detail})" for item in found[:SHOWN])
        raise UserError(
            f"{shown or path} breaks {len(found)} Q/DQ invariants", why=lines, fix="please report the model"
        )


def violations(graph: gs.Graph, unsigned: Unsigned = "never", halved: Collection[str] = ()) -> Iterator[Violation]:
    """Every broken invariant of a Q/DQ graph: symmetric INT8, one pair a tensor, nothing on biases and outputs.

    `halved` are the weighted nodes of which the config quantizes one side alone.
    """
    pairs: dict[str, str] = {}
    for node in graph.nodes:
        if node.op in (QUANTIZE, DEQUANTIZE):
            if not all(isinstance(tensor, gs.Constant) for tensor in node.inputs[1:]):
                yield Violation("scales and zero-points are constants", node.name, "one is computed")
                continue
            yield from _parameters(node, unsigned)
        if node.op == QUANTIZE:
            source = node.inputs[0].name
            if source in pairs:
                yield Violation("one Q/DQ pair per tensor", node.name, f"{pairs[source]} quantizes {source} too")
            pairs[source] = node.name
            readers = {reader.op for reader in node.outputs[0].outputs}
            if readers != {DEQUANTIZE}:
                yield Violation("a Q feeds only its DQ", node.name, f"readers: {sorted(readers)}")
            yield from _unequal_pair(node)
        if node.op == DEQUANTIZE:
            if node.outputs[0] in graph.outputs:
                yield Violation("graph outputs stay float", node.name, node.outputs[0].name)
            yield from _stored_weight(node)
        if node.op in WEIGHTED:
            yield from _operands(node, node.name in halved)


def _parameters(node: gs.Node, unsigned: Unsigned) -> Iterator[Violation]:
    scale = node.inputs[1].values
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        yield Violation("scales are finite and positive", node.name, f"min {scale.min()}, max {scale.max()}")
    zero_point = node.inputs[2].values if len(node.inputs) > 2 else None
    if zero_point is None or not _is_symmetric(node, zero_point, unsigned):
        kinds = "int8 with zero-point 0" if unsigned == "never" else f"int8 or uint8 ({unsigned})"
        yield Violation("symmetric INT8", node.name, f"the element type and zero-point are not {kinds}")


def _is_symmetric(node: gs.Node, zero_point: NDArray[Any], unsigned: Unsigned) -> bool:
    """int8 around 0; where `unsigned` allows it uint8 around 128, or from the least value that its tensor can have."""
    if zero_point.dtype == np.int8:
        return not zero_point.any()
    if zero_point.dtype != np.uint8 or unsigned == "never":
        return False
    quantize = node if node.op == QUANTIZE else node.inputs[0].inputs[0] if node.inputs[0].inputs else None
    if (zero_point == UINT8_MIDDLE).all():
        return unsigned == "always" or (quantize is not None and joined(quantize.inputs[0]))
    lowest = -(int(zero_point.max()) + 0.5) * float(node.inputs[1].values.min()) if zero_point.any() else 0.0
    return quantize is not None and floor(quantize.inputs[0]) >= lowest


def _unequal_pair(node: gs.Node) -> Iterator[Violation]:
    for reader in node.outputs[0].outputs:
        if reader.op == DEQUANTIZE and not all(map(_same, node.inputs[1:], reader.inputs[1:])):
            yield Violation("Q and DQ have the same scale and zero-point", node.name, reader.name)


def _same(one: gs.Tensor, other: gs.Tensor) -> bool:
    if one is other or not (isinstance(one, gs.Constant) and isinstance(other, gs.Constant)):
        return one is other
    return bool(one.values.dtype == other.values.dtype and np.array_equal(one.values, other.values))


def _stored_weight(node: gs.Node) -> Iterator[Violation]:
    values = node.inputs[0]
    if isinstance(values, gs.Constant) and int(values.values.min()) < -QMAX:
        yield Violation("weights use the narrow range", node.name, f"minimum {values.values.min()}")


def _operands(node: gs.Node, halved: bool) -> Iterator[Violation]:
    sources = [_behind_copies(tensor) for tensor in node.inputs]
    dequantized = [bool(tensor.inputs) and tensor.inputs[0].op == DEQUANTIZE for tensor in sources]
    if dequantized[0] != dequantized[1] and not halved:
        yield Violation("both operands are quantized or none", node.name, f"input and weight: {dequantized[:2]}")
    if len(dequantized) > 2 and dequantized[2]:
        yield Violation("biases stay float", node.name, node.inputs[2].name)
    if dequantized[0] and _scale_count(sources[0].inputs[0]) != 1:
        yield Violation("activations have one scale", node.name, node.inputs[0].name)
    if dequantized[1] and sources[1] is node.inputs[1]:
        pair = sources[1].inputs[0]
        axis, wanted = int(pair.attrs.get("axis", 1)), weight_axis(onnx_graph.op_node(node))
        if _scale_count(pair) > 1 and axis != wanted:
            yield Violation("a weight has its scales per output channel", node.name, f"axis {axis}, not {wanted}")


def _scale_count(node: gs.Node) -> int:
    scale = node.inputs[1]
    return int(scale.values.size) if isinstance(scale, gs.Constant) else 1


def _behind_copies(tensor: gs.Tensor) -> gs.Tensor:
    """The source of `tensor` before ops that commute with Q/DQ, whose pair therefore stands in front of them."""
    while tensor.inputs and commutes(onnx_graph.op_node(tensor.inputs[0])):
        tensor = tensor.inputs[0].inputs[0]
    return tensor


def _unequal_groups(graph: gs.Graph, expected: QuantizationPlan) -> Iterator[Violation]:
    members = {name for name, tensor in expected.tensors.items() if tensor.group is not None}
    quantizers = [node for node in graph.nodes if node.op == QUANTIZE and node.inputs[0].name in members]
    largest = {node.inputs[0].name: _largest(node) for node in quantizers}
    for group in expected.groups.values():
        found = {tensor: largest[tensor] for tensor in group if tensor in largest}
        if found and not np.allclose(list(found.values()), next(iter(found.values())), rtol=1e-6, atol=0):
            yield Violation("a group has one range", next(iter(found)), f"largest values: {found}")


def _largest(node: gs.Node) -> float:
    """Largest value that a Q can represent, which is the same in every spelling of a scale."""
    scale, zero_point = (tensor.values for tensor in node.inputs[1:])
    return float(scale.max()) * (np.iinfo(zero_point.dtype).max - int(zero_point.max()))


def _lost_pairs(graph: gs.Graph, expected: QuantizationPlan) -> Iterator[Violation]:
    wanted = len(expected.quantized)
    found = sum(node.op == DEQUANTIZE for node in graph.nodes)
    if found != wanted:
        yield Violation("no Q/DQ pair goes missing", graph.name, f"{wanted} placed, {found} in the file")
