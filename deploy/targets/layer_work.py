"""Counts over an engine's layers: bytes moved, multiply-adds, and fused operators.

Counting operand types alone hides an unfused epilogue: an INT8 convolution that writes float needs another kernel, and
the float tensor travels to memory and back. Every backend's list of layers gives shapes and types, so bytes can be
counted without running anything. Method: Williams, Waterman and Patterson, "Roofline", CACM 2009.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.bundle.types import Precision
from deploy.targets.base import LayerInfo, Tensor

_CONVERSIONS = {
    "Reformat", "Reorder", "ReorderInput", "ReorderOutput", "Convert", "Cast", "Transpose", "FakeQuantize",
    "QuantizeLinear", "DequantizeLinear",
}  # fmt: skip
_POINTWISE = {
    "Subgraph", "Eltwise",  # OpenVINO
    "PointWise", "PointWiseV2", "ElementWise", "Activation", "Scale", "Unary",  # TensorRT
    "Add", "Sub", "Mul", "Div", "Relu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "LeakyRelu",  # ONNX Runtime
    "QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu",
}  # fmt: skip
_GENERATED = "kgen"  # TensorRT-RTX writes these kernels at build time and names them after the operators inside
_CONVERSION_KERNEL = re.compile(r"__myl_(?:Mul|Min|Max|Roun|Cast|Tran|Repl|Move|Resh)+_myl")
_LAYOUT_KERNEL = re.compile(r"__myl_(?:Tran|Repl|Move|Resh)+_myl")
_PRODUCTS = {"FullyConnected", "MatMul", "Gemm", "QGemm", "QLinearMatMul", "MatMulInteger", "MatrixMultiply"}
_FLOATS = {"fp32", "bf16", "fp16"}
HALF: tuple[Precision, ...] = ("bf16", "fp16")  # an INT8 engine that moves more bytes than these loses by quantizing


@dataclass(frozen=True)
class EngineWork:
    """Counts over one engine, per inference.

    Attributes:
        int8_outputs, float_outputs: convolutions whose first result is INT8, or float.
        pointwise: kernels that compute element by element, TensorRT-RTX's generated kernels included.
        conversions: layers that only change format or precision; a generated one counts as pointwise, too.
        bytes_moved: inputs, constants and outputs of all layers; None where the engine gives no shapes.
        macs: multiply-adds of convolutions and of products with constant weights.
    """

    int8_outputs: int
    float_outputs: int
    pointwise: int
    conversions: int
    bytes_moved: int | None
    macs: int


def work_of(layers: Sequence[LayerInfo]) -> EngineWork:
    """Counts over `layers`."""
    running = executed(layers)
    outputs = [layer.output for layer in running if layer.kind == "Conv"]
    return EngineWork(
        int8_outputs=outputs.count("int8"),
        float_outputs=sum(output in _FLOATS for output in outputs),
        pointwise=sum(map(is_pointwise, running)),
        conversions=sum(map(is_conversion, running)),
        bytes_moved=sum(map(bytes_moved, running)) if any(layer.outputs for layer in running) else None,
        macs=sum(map(macs, running)),
    )


def caution(int8: EngineWork, other: EngineWork, precision: str) -> str:
    """A warning where an INT8 engine moves more bytes than the engine of `precision`; "" otherwise or if unknown."""
    if int8.bytes_moved is None or other.bytes_moved is None or int8.bytes_moved <= other.bytes_moved:
        return ""
    more = f"{int8.bytes_moved / 1e6:.1f} MB per inference, {precision} {other.bytes_moved / 1e6:.1f} MB"
    return f"INT8 moves more bytes than {precision}: {more}; {int8.float_outputs} convolutions write float"


def executed(layers: Sequence[LayerInfo]) -> list[LayerInfo]:
    """Layers that run at every inference: layers with outputs, or all where the engine lists no tensors."""
    return [layer for layer in layers if layer.outputs] or list(layers)


def bytes_moved(layer: LayerInfo) -> int:
    """Bytes that a layer reads and writes when no cache helps: each input, constant and output once."""
    return sum(tensor.size_bytes for tensor in (*layer.inputs, *layer.constants, *layer.outputs))


def macs(layer: LayerInfo) -> int:
    """Multiply-adds of a convolution or of a product with constant weights, else 0.

    Every weight is used once at each place of the smaller image: the output's, or the input's of a transposed
    convolution. A convolution fused with a stride of another operator counts at the fused output's size.
    """
    convolution = layer.kind == "Conv"
    if not (convolution or layer.kind in _PRODUCTS) or not (layer.constants and layer.inputs and layer.outputs):
        return 0
    weights = max(tensor.elements for tensor in layer.constants)
    if convolution:
        return weights * min(_places(layer.inputs[0], 1), _places(layer.outputs[0], 1))
    return weights * _places(layer.outputs[0], -1)


def is_conversion(layer: LayerInfo) -> bool:
    """Return True for a layer that only scales, rounds, casts or moves data."""
    return layer.kind in _CONVERSIONS or _CONVERSION_KERNEL.match(layer.name) is not None


def is_pointwise(layer: LayerInfo) -> bool:
    """Return True for a kernel that computes element by element outside of a convolution."""
    return layer.kind in _POINTWISE or (layer.kind == _GENERATED and not _LAYOUT_KERNEL.match(layer.name))


def _places(tensor: Tensor, channels: int) -> int:
    """Elements of one channel over the whole batch."""
    shape = tensor.shape
    return tensor.elements // math.prod(shape[channels:][:1]) if len(shape) > 1 else tensor.elements
