"""Which precision each TensorRT layer computes in, from the build log.

With detailed profiling verbosity the builder lists, for every layer, its type, the type of each input and output, its
weights, and the ONNX nodes it was made from. Full TensorRT states the weights' type; RTX lists constants instead.
Source: NVIDIA TensorRT documentation, "Engine Inspector", whose lines these are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from deploy.backends.base import LayerInfo

_LINE = re.compile(
    r"\bName: (?P<name>.+?), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*?)\], "
    r"(?:Constants: \[(?P<constants>.*?)\], )?Outputs: "
)
_DATATYPE = re.compile(r"Datatype: ([^,}]+?)\s*[,}]")
_CONSTANT = re.compile(r"Dimensions: \[([\d,]*)\].*?Datatype: (\w+)")
_WEIGHTS = re.compile(r'Weights: {"Type": "(\w+)"')
_ORIGIN = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_CONVOLUTIONS = {
    "correlation",
    "convolution",
    "CaskConvolution",
    "CaskGemmConvolution",
    "fusedconvact",
    "deconvolution",
}
_FUSED_CONVOLUTION = re.compile(r"__myl_\w*Corr")  # kernels made at build time are named after the operators in them
_SYNCHRONISATION = {"wait", "signal", "NoOp"}
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


def from_build_log(lines: Iterable[str]) -> list[LayerInfo]:
    """Layers that a verbose build log lists; waits and signals between streams are left out."""
    found = ((line, _LINE.search(line)) for line in lines)
    return [_layer(line, match) for line, match in found if match and match["kind"] not in _SYNCHRONISATION]


def _layer(line: str, match: re.Match[str]) -> LayerInfo:
    """A convolution's fused residual may come before its activation, so its weights tell what it computes in."""
    name, kind = match["name"], match["kind"]
    types = _DATATYPE.findall(match["inputs"])
    precisions = [_precision(datatype) for datatype in types]
    convolution = kind in _CONVOLUTIONS or _FUSED_CONVOLUTION.match(name) is not None
    weights = _precision(_weight_type(line, match["constants"] or "")) if convolution else ""
    return LayerInfo(
        name=name,
        kind="Conv" if convolution else kind,
        precision=weights if weights in precisions else next(iter(precisions), "unknown"),
        detail=f"{kind}({', '.join(types)})",
        origin=tuple(dict.fromkeys(_ORIGIN.findall(line))),
        output=next(map(_precision, _DATATYPE.findall(line[match.end() :])), ""),
    )


def _precision(datatype: str) -> str:
    return next((known for word, known in _PRECISIONS.items() if word in datatype.lower()), "unknown")


def _weight_type(line: str, constants: str) -> str:
    """The stated type of the weights, else that of the largest constant (the others are biases and scales)."""
    stated = _WEIGHTS.search(line)
    if stated:
        return stated[1]
    sizes = [(math.prod(map(int, filter(None, dims.split(",")))), word) for dims, word in _CONSTANT.findall(constants)]
    return max(sizes, default=(0, ""))[1]
