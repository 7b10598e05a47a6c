"""The least value that a tensor of a float ONNX graph can have, by the operators that make it.

Relu, Sigmoid, Softmax, ...           0
HardSwish: x · HardSigmoid(x)         -β² / 4α, which is -0.375
Swish: x · Sigmoid(x)                 -0.2785
a gate: y · Sigmoid(...)              that of y, if it is below zero
"""

from __future__ import annotations

import math

import onnx_graphsurgeon as gs

SOURCES = {"Abs", "Exp", "HardSigmoid", "Relu", "Sigmoid", "Softmax", "Softplus", "Sqrt"}
UNIT = {"HardSigmoid", "Sigmoid", "Softmax"}  # results between 0 and 1
# Each result is a value of the input, or an average of its values.
KEEPERS = {"AveragePool", "Flatten", "GlobalAveragePool", "GlobalMaxPool", "Identity", "MaxPool", "Reshape", "Slice"}
KEEPERS |= {"Squeeze", "Transpose", "Unsqueeze"}
PAIRS = {"QuantizeLinear", "DequantizeLinear"}
UNKNOWN = -math.inf
SWISH, HARD_SWISH = -0.27846455, -0.375  # minima of x · Sigmoid(x), and of HardSwish


def non_negative(tensor: gs.Tensor) -> bool:
    """Return True if no value of `tensor` can be below zero; False also where that is not known."""
    return floor(tensor) >= 0


def floor(tensor: gs.Tensor) -> float:
    """A value that none of `tensor` is below; `UNKNOWN` where none is known."""
    if isinstance(tensor, gs.Constant):
        return float(tensor.values.min()) if tensor.values.size else UNKNOWN
    if not tensor.inputs:
        return UNKNOWN
    node = tensor.inputs[0]
    if node.op in SOURCES:
        return 0.0
    if node.op == "HardSwish":
        return HARD_SWISH
    if node.op == "Mul":
        return _of_product(*node.inputs)
    if node.op == "Add":
        return sum(floor(source) for source in node.inputs)
    if node.op == "Concat":
        return min(floor(source) for source in node.inputs)
    if node.op == "Div":
        divisor = node.inputs[1]
        return floor(node.inputs[0]) / float(divisor.values.reshape(-1)[0]) if _is_factor(divisor) else UNKNOWN
    if node.op == "Sub":
        return 0.0 if _one_minus_unit(node) else UNKNOWN
    if node.op == "Clip":
        given = len(node.inputs) > 1 and isinstance(node.inputs[1], gs.Constant)
        return float(node.inputs[1].values) if given else floor(node.inputs[0])
    if node.op == "Resize":
        return floor(node.inputs[0]) if node.attrs.get("mode", "nearest") != "cubic" else UNKNOWN
    return floor(node.inputs[0]) if node.op in KEEPERS or node.op in PAIRS else UNKNOWN


def _of_product(one: gs.Tensor, other: gs.Tensor) -> float:
    lows = floor(one), floor(other)
    if min(lows) >= 0:
        return lows[0] * lows[1]
    for value, gate in ((one, other), (other, one)):
        if _is_factor(gate):
            return floor(value) * float(gate.values.reshape(-1)[0])
        own = _swish(value, gate)
        if own is not None:
            return own
        if _is_unit(gate):
            return min(floor(value), 0.0)
    return UNKNOWN


def _swish(value: gs.Tensor, gate: gs.Tensor) -> float | None:
    """The minimum of `value` times a gate made of the same tensor."""
    node = _maker(gate)
    if node is None or _behind_pairs(node.inputs[0]) is not _behind_pairs(value):
        return _relu6_swish(value, node)
    if node.op == "Sigmoid":
        return SWISH
    if node.op == "HardSigmoid":
        alpha, beta = node.attrs.get("alpha", 0.2), node.attrs.get("beta", 0.5)
        return float(-(beta**2) / (4 * alpha))
    return None


def _relu6_swish(value: gs.Tensor, node: gs.Node | None) -> float | None:
    """x · Clip(x + b, 0, ...), as exporters write HardSwish before they divide by 6; b is 3."""
    if node is None or node.op != "Clip" or floor(node.outputs[0]) < 0:
        return None
    shifted = _maker(node.inputs[0])
    if shifted is None or shifted.op != "Add":
        return None
    shift = next((tensor for tensor in shifted.inputs if _is_factor(tensor)), None)
    same = any(_behind_pairs(tensor) is _behind_pairs(value) for tensor in shifted.inputs)
    return None if shift is None or not same else -(float(shift.values.reshape(-1)[0]) ** 2) / 4


def _is_factor(tensor: gs.Tensor) -> bool:
    return isinstance(tensor, gs.Constant) and tensor.values.size == 1 and float(tensor.values.reshape(-1)[0]) > 0


def _is_unit(tensor: gs.Tensor) -> bool:
    node = _maker(tensor)
    return node is not None and node.op in UNIT


def _maker(tensor: gs.Tensor) -> gs.Node | None:
    source = _behind_pairs(tensor)
    return source.inputs[0] if source.inputs else None


def _behind_pairs(tensor: gs.Tensor) -> gs.Tensor:
    while not isinstance(tensor, gs.Constant) and tensor.inputs and tensor.inputs[0].op in PAIRS:
        tensor = tensor.inputs[0].inputs[0]
    return tensor


def _one_minus_unit(node: gs.Node) -> bool:
    whole, part = node.inputs
    whole = _behind_pairs(whole)
    is_one = isinstance(whole, gs.Constant) and whole.values.dtype.kind == "f" and bool((whole.values >= 1).all())
    return is_one and _is_unit(part)
