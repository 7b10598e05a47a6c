"""Precision of each TensorRT layer, from the build log.

With detailed profiling verbosity the builder lists each layer's type, the types of its inputs and outputs, its weights,
and the ONNX nodes it was made from. Full TensorRT states the weights' type; RTX lists constants instead. Source: NVIDIA
TensorRT documentation, "Engine Inspector", which shows these lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from deploy.targets.base import LayerInfo
from deploy.targets.tensorrt.layer_kinds import Described, DescribedTensor, layers_of

_LINE = re.compile(
    r"\bName: (?P<name>.+?), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*?)\], "
    r"(?:Constants: \[(?P<constants>.*?)\], )?Outputs: "
)
_TENSOR = re.compile(r"Dimensions: \[([^\]]*)\].*?Data[tT]ype: ([^,}]+?)\s*[,}]")
_WEIGHTS = re.compile(r'Weights: {"Type": "(\w+)", "Count": (\d+)')


def from_build_log(lines: Iterable[str]) -> list[LayerInfo]:
    """Layers that a verbose build log lists."""
    found = ((line, _LINE.search(line)) for line in lines)
    return layers_of(_described(line, match) for line, match in found if match)


def _described(line: str, match: re.Match[str]) -> Described:
    stated = _WEIGHTS.search(line)
    return Described(
        name=match["name"],
        kind=match["kind"],
        inputs=_tensors(match["inputs"]),
        outputs=_tensors(line[match.end() :]),
        weights=DescribedTensor((int(stated[2]),), stated[1]) if stated else None,
        constants=_tensors(match["constants"] or ""),
        metadata=line,
    )


def _tensors(text: str) -> list[DescribedTensor]:
    """Tensors between the brackets of a list; a dimension that is not a number is dynamic."""
    found = _TENSOR.findall(text)
    return [DescribedTensor(tuple(_size(side) for side in filter(None, dims.split(","))), word) for dims, word in found]


def _size(side: str) -> int:
    return int(side) if side.strip().isdigit() else 1
