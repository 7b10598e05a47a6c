"""Which tensors of a float ONNX graph cannot be negative, by the operators that make them."""

from __future__ import annotations

import onnx_graphsurgeon as gs

SOURCES = {"Abs", "Exp", "HardSigmoid", "Relu", "Sigmoid", "Softmax", "Softplus", "Sqrt"}
UNIT = {"HardSigmoid", "Sigmoid", "Softmax"}  # results between 0 and 1
# What comes out is a value, an average or a product of what goes in.
KEEPERS = {"AveragePool", "Flatten", "GlobalAveragePool", "GlobalMaxPool", "Identity", "MaxPool", "Reshape", "Slice"}
KEEPERS |= {"Squeeze", "Transpose", "Unsqueeze"}
COMBINERS = {"Add", "Concat", "Mul"}
PAIRS = {"QuantizeLinear", "DequantizeLinear"}


def non_negative(tensor: gs.Tensor) -> bool:
    """Whether no value of `tensor` can be below zero; False also where that is not known."""
    if isinstance(tensor, gs.Constant):
        return bool((tensor.values >= 0).all())
    if not tensor.inputs:
        return False
    node = tensor.inputs[0]
    if node.op in SOURCES:
        return True
    if node.op in COMBINERS:
        return all(non_negative(source) for source in node.inputs)
    if node.op == "Sub":
        return _one_minus_unit(node)
    if node.op == "Clip":
        return len(node.inputs) > 1 and isinstance(node.inputs[1], gs.Constant) and float(node.inputs[1].values) >= 0
    if node.op == "Resize":
        return node.attrs.get("mode", "nearest") != "cubic" and non_negative(node.inputs[0])
    return (node.op in KEEPERS or node.op in PAIRS) and non_negative(node.inputs[0])


def _one_minus_unit(node: gs.Node) -> bool:
    whole, part = node.inputs
    while part.inputs and part.inputs[0].op in PAIRS:
        part = part.inputs[0].inputs[0]
    while not isinstance(whole, gs.Constant) and whole.inputs and whole.inputs[0].op in PAIRS:
        whole = whole.inputs[0].inputs[0]
    is_one = isinstance(whole, gs.Constant) and whole.values.dtype.kind == "f" and bool((whole.values >= 1).all())
    return is_one and bool(part.inputs) and part.inputs[0].op in UNIT
