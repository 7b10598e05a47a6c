"""Kind and precision of a layer, read from TensorRT's own description.

The builder's log (`deploy.targets.tensorrt.build_log`) and the EngineInspector
(`deploy.targets.tensorrt.inspector`) describe layers in the same terms. Source: NVIDIA TensorRT documentation,
"Engine Inspector".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deploy.targets.base import LayerInfo, Tensor

_CONVOLUTION = re.compile(r"conv(?!er)|correlation", re.IGNORECASE)  # not Convert
_FUSED_CONVOLUTION = re.compile(r"__myl_\w*Corr")  # kernels made at build time are named after the operators in them
_AS_PRODUCT = "__gemm_from_conv1x1"  # RTX's own note on a 1×1 convolution that it computes as a matrix product
_KERNEL_MADE_AT_BUILD = re.compile(r"__myl_|\{ForeignNode")
_SYNCHRONISATION = {"wait", "signal", "NoOp", "TrainStation"}
_ORIGIN = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_NO_NODE = re.compile(r"\(Unnamed Layer|.*\.(?:weight|bias)$")
_POINTWISE = re.compile(r"PWN\((.*)\)")
_PRECISIONS = {"int8", "bf16", "fp16", "fp32"}
# The first word found decides: "bfloat16" holds "float".
_DTYPES = {
    "int8": "int8",
    "bfloat16": "bf16",
    "bf16": "bf16",
    "half": "fp16",
    "fp16": "fp16",
    "float": "fp32",
    "fp32": "fp32",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
}


@dataclass(frozen=True)
class DescribedTensor:
    """A tensor as TensorRT describes it.

    Attributes:
        shape: 1 for a dynamic dimension; for weights of full TensorRT their number alone.
        datatype: often with its format: "Thirty-two wide channel vectorized row major Int8 format".
    """

    shape: tuple[int, ...]
    datatype: str


@dataclass(frozen=True)
class Described:
    """A layer as TensorRT describes it.

    Attributes:
        weights: as stated by full TensorRT; None where it is not.
        constants: RTX's list in place of weights.
        metadata: "[ONNX Layer: …]" for each node; "" before TensorRT 8.6.
    """

    name: str
    kind: str
    inputs: Sequence[DescribedTensor]
    outputs: Sequence[DescribedTensor]
    weights: DescribedTensor | None
    constants: Sequence[DescribedTensor]
    metadata: str


def layers_of(described: Iterable[Described]) -> list[LayerInfo]:
    """Layers that compute or move data; waits and signals between streams are left out."""
    return [_layer(layer) for layer in described if layer.kind not in _SYNCHRONISATION]


def _layer(layer: Described) -> LayerInfo:
    """The precision of a layer. A fused residual may precede a convolution's activation, so its weights decide."""
    inputs, outputs = _tensors(layer.inputs), _tensors(layer.outputs)
    constants = _tensors((layer.weights, *layer.constants) if layer.weights else layer.constants)
    precisions = [tensor.dtype if tensor.dtype in _PRECISIONS else "unknown" for tensor in inputs]
    named = _CONVOLUTION.search(layer.kind) or _FUSED_CONVOLUTION.match(layer.name)
    convolution = bool(named or _AS_PRODUCT in layer.metadata)
    # The largest constant is the weights; the others are biases and scales.
    weights = max(constants, key=lambda tensor: tensor.elements, default=Tensor((), "")).dtype if convolution else ""
    return LayerInfo(
        name=layer.name,
        kind="Conv" if convolution else layer.kind,
        precision=weights if weights in precisions else next(iter(precisions), "unknown"),
        detail=f"{layer.kind}({', '.join(tensor.datatype for tensor in layer.inputs)})",
        origin=tuple(dict.fromkeys(_ORIGIN.findall(layer.metadata))) or (_named_in(layer.name) if convolution else ()),
        inputs=inputs,
        constants=constants,
        outputs=outputs,
    )


def _named_in(name: str) -> tuple[str, ...]:
    """ONNX nodes in a layer's name, the only source before 8.6: `c.weight + QuantizeLinear_7 + Conv_9 +
    PWN(Relu_10)`."""
    if _KERNEL_MADE_AT_BUILD.match(name):
        return ()
    parts = (_POINTWISE.sub(r"\1", part) for part in name.split(" + "))
    return tuple(part for part in parts if not _NO_NODE.match(part))


def _tensors(described: Iterable[DescribedTensor]) -> tuple[Tensor, ...]:
    return tuple(Tensor(tensor.shape, _dtype(tensor.datatype)) for tensor in described)


def _dtype(datatype: str) -> str:
    return next((known for word, known in _DTYPES.items() if word in datatype.lower()), "unknown")
