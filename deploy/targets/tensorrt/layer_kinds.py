"""What TensorRT's own description of a layer says: is it a convolution, and what does it compute in.

The builder's log (`deploy.targets.tensorrt.build_log`) and the EngineInspector
(`deploy.targets.tensorrt.inspector`) describe layers in the same terms. Source: NVIDIA TensorRT documentation,
"Engine Inspector".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deploy.targets.base import LayerInfo

_CONVOLUTION = re.compile(r"conv(?!er)|correlation", re.IGNORECASE)  # not Convert
_FUSED_CONVOLUTION = re.compile(r"__myl_\w*Corr")  # kernels made at build time are named after the operators in them
_KERNEL_MADE_AT_BUILD = re.compile(r"__myl_|\{ForeignNode")
_SYNCHRONISATION = {"wait", "signal", "NoOp", "TrainStation"}
_ORIGIN = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_NO_NODE = re.compile(r"\(Unnamed Layer|.*\.(?:weight|bias)$")
_POINTWISE = re.compile(r"PWN\((.*)\)")
# The first word found decides: "bfloat16" holds "float".
_PRECISIONS = {
    "int8": "int8",
    "bfloat16": "bf16",
    "bf16": "bf16",
    "half": "fp16",
    "fp16": "fp16",
    "float": "fp32",
    "fp32": "fp32",
}


@dataclass(frozen=True)
class Described:
    """A layer in TensorRT's words.

    Attributes:
        inputs, outputs: type of each tensor, often with its format: "Thirty-two wide channel vectorized row major Int8
            format".
        weights: type of the weights, as stated; "" where it is not.
        constants: number of elements and type of each constant, which RTX lists in place of weights.
        metadata: "[ONNX Layer: …]" for each node; "" before TensorRT 8.6.
    """

    name: str
    kind: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    weights: str
    constants: Sequence[tuple[int, str]]
    metadata: str


def layers_of(described: Iterable[Described]) -> list[LayerInfo]:
    """Layers that do something; waits and signals between streams are left out."""
    return [_layer(layer) for layer in described if layer.kind not in _SYNCHRONISATION]


def elements(dimensions: Iterable[int]) -> int:
    """Number of elements of a constant."""
    return math.prod(dimensions)


def _layer(layer: Described) -> LayerInfo:
    """A convolution's fused residual may come before its activation, so its weights tell what it computes in."""
    precisions = [_precision(datatype) for datatype in layer.inputs]
    convolution = bool(_CONVOLUTION.search(layer.kind) or _FUSED_CONVOLUTION.match(layer.name))
    # The largest constant is the weights; the others are biases and scales.
    weights = _precision(layer.weights or max(layer.constants, default=(0, ""))[1]) if convolution else ""
    return LayerInfo(
        name=layer.name,
        kind="Conv" if convolution else layer.kind,
        precision=weights if weights in precisions else next(iter(precisions), "unknown"),
        detail=f"{layer.kind}({', '.join(layer.inputs)})",
        origin=tuple(dict.fromkeys(_ORIGIN.findall(layer.metadata))) or (_named_in(layer.name) if convolution else ()),
        output=next(map(_precision, layer.outputs), ""),
    )


def _named_in(name: str) -> tuple[str, ...]:
    """ONNX nodes in a layer's name, all there is before 8.6: `c.weight + QuantizeLinear_7 + Conv_9 + PWN(Relu_10)`."""
    if _KERNEL_MADE_AT_BUILD.match(name):
        return ()
    parts = (_POINTWISE.sub(r"\1", part) for part in name.split(" + "))
    return tuple(part for part in parts if not _NO_NODE.match(part))


def _precision(datatype: str) -> str:
    return next((known for word, known in _PRECISIONS.items() if word in datatype.lower()), "unknown")
