"""Writes ONNX graphs node by node, as toolkits export them, without graphsurgeon, which would tidy them up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE = 8
RANDOM = np.random.default_rng(0)
WEIGHTS = {
    "c1": RANDOM.standard_normal((4, 3, 3, 3)).astype(np.float32),
    "c2": RANDOM.standard_normal((4, 4, 3, 3)).astype(np.float32) / 3,
    "c3": RANDOM.standard_normal((2, 4, 1, 1)).astype(np.float32),
}
BIASES = {name: RANDOM.standard_normal(len(value)).astype(np.float32) for name, value in WEIGHTS.items()}


class Builder:
    """Nodes and initializers on their way to a model with input `image` (1, 3, 8, 8) and output `logits`."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def const(self, name: str, value: Any) -> str:
        """An initializer."""
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, op: str, inputs: list[str], output: str, domain: str = "", **attrs: Any) -> str:
        """A node named after its output."""
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"{output}_{op}", domain=domain, **attrs))
        return output

    def conv(self, x: str, w: str, output: str, bias: str = "", **attrs: Any) -> str:
        """A Conv that keeps the sides, of the kernel size of `WEIGHTS`."""
        kernel = WEIGHTS[output].shape[2]
        pad = {"pads": [kernel // 2] * 4, "kernel_shape": [kernel, kernel]}
        return self.add("Conv", [x, w, bias] if bias else [x, w], output, **pad, **attrs)

    def pair(self, tensor: str, scale: Any, zero: Any, output: str, **attrs: Any) -> str:
        """Q and DQ with initializers as parameters; `zero` carries the element type."""
        parameters = [self.const(f"{output}_s", np.float32(scale)), self.const(f"{output}_z", zero)]
        quantized = self.add("QuantizeLinear", [tensor, *parameters], f"{output}_q", **attrs)
        return self.add("DequantizeLinear", [quantized, *parameters], output, **attrs)

    def model(
        self, opset: int = 17, output: str = "logits", shape: tuple[int, ...] = (1, 2, SIDE, SIDE), ir_version: int = 8
    ) -> onnx.ModelProto:
        """The model, checked except for operators that the checker does not know."""
        return helper.make_model(
            helper.make_graph(
                self.nodes,
                "g",
                [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, SIDE, SIDE))],
                [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
                self.constants,
            ),
            opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)],
            ir_version=ir_version,
        )

    def save(self, path: Path, **options: Any) -> Path:
        """Write `model(**options)`."""
        onnx.save(self.model(**options), str(path))
        return path


def symmetric(values: NDArray[np.float32], steps: int = 127) -> np.float32:
    """Per-tensor scale of the largest magnitude."""
    return np.float32(np.abs(values).max() / steps)


def per_channel(values: NDArray[np.float32], axis: int = 0) -> NDArray[np.float32]:
    """One scale for each slice along `axis`."""
    others = tuple(index for index in range(values.ndim) if index != axis)
    return (np.abs(values).max(axis=others) / 127).astype(np.float32)
