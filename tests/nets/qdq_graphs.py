"""Hand-written Q/DQ graphs in the forms that toolkits export: one Conv, with the parameters of each pair given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

SHAPE = (1, 3, 8, 8)
OPSET = 18
INT8_ZERO = np.int8(0)


def weight(seed: int = 0) -> NDArray[np.float32]:
    """A Conv weight, 4 output channels, 3 inputs, 3 × 3."""
    return np.random.default_rng(seed).standard_normal((4, 3, 3, 3), dtype=np.float32)


def pair(tensor: gs.Tensor, scale: Any, zero_point: Any, name: str, axis: int | None = None) -> list[gs.Node]:
    """Q and DQ on `tensor`; the DQ's output is `{name}_dq`. `zero_point` None leaves that input out."""
    attrs = {} if axis is None else {"axis": axis}
    parameters = [gs.Constant(f"{name}_scale", np.asarray(scale, np.float32))]
    if zero_point is not None:
        parameters.append(gs.Constant(f"{name}_zero_point", np.asarray(zero_point)))
    dtype = np.uint8 if zero_point is None else np.asarray(zero_point).dtype
    integers = gs.Variable(f"{name}_q", dtype, tensor.shape)
    floats = gs.Variable(f"{name}_dq", np.float32, tensor.shape)
    return [
        gs.Node("QuantizeLinear", f"{name}_Q", attrs, [tensor, *parameters], [integers]),
        gs.Node("DequantizeLinear", f"{name}_DQ", attrs, [integers, *parameters], [floats]),
    ]


def stored(integers: Any, scale: Any, zero_point: Any, name: str, axis: int | None = None) -> gs.Node:
    """A constant kept as integers behind a DQ, whose output is `{name}_dq`."""
    parameters = [gs.Constant(f"{name}_scale", np.asarray(scale, np.float32))]
    if zero_point is not None:
        parameters.append(gs.Constant(f"{name}_zero_point", np.asarray(zero_point)))
    floats = gs.Variable(f"{name}_dq", np.float32, integers.shape)
    attrs = {} if axis is None else {"axis": axis}
    return gs.Node("DequantizeLinear", f"{name}_DQ", attrs, [gs.Constant(name, integers), *parameters], [floats])


def conv(x: gs.Tensor, w: gs.Tensor, y: str = "y", bias: gs.Tensor | None = None) -> gs.Node:
    """A 3 × 3 Conv named `{y}_Conv`."""
    inputs = [x, w] if bias is None else [x, w, bias]
    output = gs.Variable(y, np.float32, (1, 4, 8, 8))
    return gs.Node("Conv", f"{y}_Conv", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, inputs, [output])


def image() -> gs.Variable:
    """The graph input `x`."""
    return gs.Variable("x", np.float32, SHAPE)


def graph(nodes: list[gs.Node], x: gs.Tensor, *outputs: gs.Tensor) -> gs.Graph:
    """A graph from `x` to `outputs`."""
    return gs.Graph(nodes, inputs=[x], outputs=list(outputs), opset=OPSET, name="g", ir_version=8)


def save(built: gs.Graph, path: Path) -> Path:
    """Write `built`, checked."""
    model = gs.export_onnx(built)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return path


def one_conv(scale: float = 0.02, zero_point: Any = INT8_ZERO) -> gs.Graph:
    """x ─▶ Q ─▶ DQ ─▶ Conv ◀─ DQ ◀─ Q ◀─ w, per-channel weights in int8."""
    x, w = image(), gs.Constant("w", weight())
    amax = np.abs(weight()).max(axis=(1, 2, 3))
    nodes = [*pair(x, scale, zero_point, "x"), *pair(w, amax / 127, np.zeros(4, np.int8), "w", axis=0)]
    nodes.append(conv(nodes[1].outputs[0], nodes[3].outputs[0]))
    return graph(nodes, x, nodes[-1].outputs[0])
