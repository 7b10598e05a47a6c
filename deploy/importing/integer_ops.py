"""Write integer operators as float operators between Q/DQ pairs, the form that can be placed again.

    before   x (uint8) ─▶ QLinearConv(w int8, b int32) ─▶ y (uint8)

    after    x ─▶ DQ ─▶ Conv(DQ(w), b · s_x · s_w) ─▶ Q ─▶ y

Sources: ONNX operators QLinearConv and QLinearMatMul; ONNX Runtime documentation, "Contrib Operators" (com.microsoft).

Look-alikes left alone, and refused later: operators that compute ranges at run time (ConvInteger, MatMulInteger,
DynamicQuantizeLinear), since they have no constant scale to keep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from deploy.graph.opgraph import DEQUANTIZE, QUANTIZE

_TRIPLE = 3  # a tensor, its scale and its zero-point
_UNARY = {
    "QLinearAveragePool": "AveragePool",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearSigmoid": "Sigmoid",
    "QLinearSoftmax": "Softmax",
}
_BINARY = {"QLinearAdd": "Add", "QLinearMatMul": "MatMul", "QLinearMul": "Mul"}
_WEIGHTED = {"QLinearConv": "Conv", "QGemm": "Gemm"}
KNOWN = {*_UNARY, *_BINARY, *_WEIGHTED, "QLinearConcat"}
_LAYOUTS = ("channels_last",)  # attributes that the float operator lacks; values other than 0 are not converted
_ONLY_INTEGER = {"opset"}


def to_float_ops(graph: gs.Graph) -> gs.Graph:
    """Rewrite every integer operator of `KNOWN` whose scales are constants, in place."""
    for node in [node for node in graph.nodes if node.op in KNOWN and _convertible(node)]:
        _Converter(graph, node).run()
    graph.cleanup().toposort()
    return graph


def _convertible(node: gs.Node) -> bool:
    return not any(node.attrs.get(name, 0) for name in _LAYOUTS)


class _Converter:
    """One integer operator."""

    def __init__(self, graph: gs.Graph, node: gs.Node) -> None:
        self._graph, self._node, self._name = graph, node, node.name or node.outputs[0].name

    def run(self) -> None:
        """Put a DQ on every input, a Q on the output, and the float operator between them."""
        node = self._node
        inputs, result = list(node.inputs), node.outputs[0]
        if node.op in _WEIGHTED:
            op, sources, rest = _WEIGHTED[node.op], self._weighted(inputs), self._behind(node.op, inputs)
        elif node.op in _BINARY:
            op, rest = _BINARY[node.op], inputs[2 * _TRIPLE :]
            sources = [self._dequantized(inputs[:_TRIPLE]), self._dequantized(inputs[_TRIPLE : 2 * _TRIPLE])]
        elif node.op == "QLinearConcat":
            op, rest = "Concat", inputs[:2]
            sources = [self._dequantized(inputs[at : at + _TRIPLE]) for at in range(2, len(inputs), _TRIPLE)]
        else:
            op, rest, sources = _UNARY[node.op], inputs[_TRIPLE:], [self._dequantized(inputs[:_TRIPLE])]
        node.inputs.clear()
        node.outputs.clear()
        attrs = {key: value for key, value in node.attrs.items() if key not in (*_LAYOUTS, *_ONLY_INTEGER)}
        if not rest or rest[0].is_empty():  # QGemm without an output scale gives float
            self._add(op, self._name, sources, result, attrs)
            return
        floats = gs.Variable(f"{result.name}_float", np.dtype(np.float32), result.shape)
        self._add(op, self._name, sources, floats, attrs)
        self._add(QUANTIZE, f"{self._name}_{QUANTIZE}", [floats, *rest], result)

    def _weighted(self, inputs: Sequence[gs.Tensor]) -> list[gs.Tensor]:
        conv = self._node.op == "QLinearConv"
        axis = 0 if conv or self._node.attrs.get("transB", 0) else 1
        found = [self._dequantized(inputs[:_TRIPLE]), self._dequantized(inputs[_TRIPLE : 2 * _TRIPLE], axis)]
        place = 8 if conv else 6
        bias = inputs[place] if len(inputs) > place else None
        if bias is None or bias.is_empty():
            return found
        own, weights = (np.asarray(inputs[index].values, np.float32).reshape(-1) for index in (1, 4))
        scale = own * weights
        if not conv:
            scale = scale * np.float32(self._node.attrs.get("alpha", 1.0))
        values = np.asarray(bias.values.astype(np.float32) * scale, np.float32)
        return [*found, gs.Constant(f"{bias.name}_float_of_{self._name}", values)]

    @staticmethod
    def _behind(op: str, inputs: Sequence[gs.Tensor]) -> Sequence[gs.Tensor]:
        """Scale and zero-point of the result."""
        return inputs[6:8] if op == "QLinearConv" else inputs[7:9]

    def _dequantized(self, triple: Sequence[gs.Tensor], axis: int = 0) -> gs.Variable:
        values, scale, _ = triple
        number = sum(node.name.startswith(f"{self._name}_{DEQUANTIZE}") for node in self._graph.nodes)
        name = f"{self._name}_{DEQUANTIZE}_{number}"
        result = gs.Variable(f"{values.name}_dequantized_{number}_for_{self._name}", np.dtype(np.float32), values.shape)
        several = isinstance(scale, gs.Constant) and scale.values.size > 1
        self._add(DEQUANTIZE, name, list(triple), result, {"axis": axis} if several else {})
        return result

    def _add(
        self, op: str, name: str, inputs: Sequence[gs.Tensor], output: gs.Tensor, attrs: Mapping[str, Any] | None = None
    ) -> None:
        self._graph.nodes.append(gs.Node(op, name, dict(attrs or {}), list(inputs), [output]))
