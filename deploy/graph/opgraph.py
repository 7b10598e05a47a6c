"""The small operator graph that placement rules read; FX and ONNX graphs are both converted to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

ACTIVATIONS = frozenset({"Relu", "Clip"})  # TensorRT fuses these into the convolution before them
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})  # a MatMul where an operand is constant
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
COPIES = frozenset(
    {"DepthToSpace", "Expand", "Flatten", "Identity", "Reshape", "Slice", "SpaceToDepth", "Squeeze", "Tile"}
    | {"Transpose", "Unsqueeze"}
)  # every output value is an input value


@dataclass(frozen=True)
class Node:
    """One operator.

    Attributes:
        name: unique in the graph.
        kind: ONNX operator name ("Conv", "Add", "BatchNormalization", ...), for both front ends.
        inputs: tensor names in ONNX order; "" where an optional input is absent.
        outputs: tensor names.
        attrs: attributes that rules read besides the kind (`groups`, `transB`, `mode`, `pad_value`).
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Edge:
    """One use of a tensor: input number `index` of `node`."""

    tensor: str
    node: str
    index: int


class OpGraph:
    """An immutable view of a network: operators in topological order, with the producer and readers of each tensor."""

    def __init__(
        self,
        nodes: Iterable[Node],
        inputs: Iterable[str],
        outputs: Iterable[str],
        constants: Mapping[str, tuple[int, ...]],
        integers: Iterable[str] = (),
    ) -> None:
        """
        Args:
            nodes: operators in topological order, names unique.
            inputs: graph input tensors.
            outputs: graph output tensors.
            constants: shape of every constant tensor (weights, biases, sizes) by name.
            integers: integer tensors, such as shapes and indices; they are never quantized.
        """
        self.nodes = tuple(nodes)
        self.inputs = tuple(inputs)
        self.outputs = frozenset(outputs)
        self.constants = dict(constants)
        self.integers = frozenset(integers)
        self._by_name = {node.name: node for node in self.nodes}
        if len(self._by_name) != len(self.nodes):
            raise ValueError("node names are not unique")
        self._producer = {tensor: node for node in self.nodes for tensor in node.outputs}
        self._uses: dict[str, list[Edge]] = {}
        for node in self.nodes:
            for index, tensor in enumerate(node.inputs):
                if tensor:
                    self._uses.setdefault(tensor, []).append(Edge(tensor, node.name, index))

    def node(self, name: str) -> Node:
        """The node of that name; raises `KeyError` when there is none."""
        return self._by_name[name]

    def producer(self, tensor: str) -> Node | None:
        """The node that makes `tensor`; None for graph inputs and constants."""
        return self._producer.get(tensor)

    def uses(self, tensor: str) -> tuple[Edge, ...]:
        """Every use of `tensor` by a node (graph outputs are not uses)."""
        return tuple(self._uses.get(tensor, ()))

    def only_reader(self, tensor: str) -> Node | None:
        """The only reader of `tensor`; None if there are several readers or the tensor is a graph output."""
        uses = self.uses(tensor)
        return self.node(uses[0].node) if len(uses) == 1 and tensor not in self.outputs else None

    def is_constant(self, tensor: str) -> bool:
        """Return True if `tensor` is a weight or other constant."""
        return tensor in self.constants


def conv_branch(graph: OpGraph, tensor: str) -> Node | None:
    """The weighted op whose fused output (through BatchNorm, then activation) is `tensor` and nothing else reads.

    Such a branch ends in a kernel that can take its neighbour's pointwise work, so its output needs no Q/DQ.
    """
    return _weighted_above(graph, tensor, frozenset({"BatchNormalization"}) | ACTIVATIONS)


def fused_into(graph: OpGraph, node: Node) -> Node | None:
    """The weighted op that fuses `node`, a BatchNorm or an activation; None without one."""
    before = frozenset({"BatchNormalization"}) if node.kind in ACTIVATIONS else frozenset[str]()
    return _weighted_above(graph, node.inputs[0], before)


def _weighted_above(graph: OpGraph, tensor: str, fusable: frozenset[str]) -> Node | None:
    """Walk up from `tensor` to a weighted op, past an activation and then a BatchNorm if `fusable` allows them."""
    while True:
        node = graph.producer(tensor)
        if node is None or graph.only_reader(tensor) is None:
            return None
        if node.kind in WEIGHTED:
            return node
        if node.kind in fusable:
            fusable = fusable - ACTIVATIONS if node.kind in ACTIVATIONS else frozenset()
        elif node.kind != "Identity":
            return None
        tensor = node.inputs[0]


def commutes(node: Node) -> bool:
    """Return True if quantizing before `node` and after it gives the same values, so that one Q/DQ serves both sides.

    This holds for pure copies, for MaxPool (rounding keeps the order of values) and for padding with a value that
    rounds to itself.
    """
    if node.kind == "Resize":
        return node.attrs.get("mode") == "nearest"
    if node.kind == "Pad":
        return node.attrs.get("mode", "constant") != "constant" or node.attrs.get("pad_value") == 0
    return node.kind == "MaxPool" or node.kind in COPIES


def weight_axis(node: Node) -> int:
    """The output-channel axis of a weighted op's weight, in ONNX layout."""
    if node.kind == "ConvTranspose":
        return 1  # (C_in, C_out / groups, kH, kW)
    if node.kind == "MatMul":
        return 1  # (features in, features out)
    if node.kind == "Gemm":
        return 0 if node.attrs.get("transB", 0) else 1
    return 0
