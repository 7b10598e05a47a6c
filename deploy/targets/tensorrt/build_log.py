"""Which precision each TensorRT layer computes in, from the build log.

With detailed profiling verbosity the builder lists, for every layer, its type, the type of each input and output, its
weights, and the ONNX nodes it was made from. Full TensorRT states the weights' type; RTX lists constants instead.
Source: NVIDIA TensorRT documentation, "Engine Inspector", whose lines these are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from deploy.targets.base import LayerInfo
from deploy.targets.tensorrt.layer_kinds import Described, elements, layers_of

_LINE = re.compile(
    r"\bName: (?P<name>.+?), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*?)\], "
    r"(?:Constants: \[(?P<constants>.*?)\], )?Outputs: "
)
_DATATYPE = re.compile(r"Datatype: ([^,}]+?)\s*[,}]")
_CONSTANT = re.compile(r"Dimensions: \[([\d,]*)\].*?Datatype: (\w+)")
_WEIGHTS = re.compile(r'Weights: {"Type": "(\w+)"')


def from_build_log(lines: Iterable[str]) -> list[LayerInfo]:
    """Layers that a verbose build log lists."""
    found = ((line, _LINE.search(line)) for line in lines)
    return layers_of(_described(line, match) for line, match in found if match)


def _described(line: str, match: re.Match[str]) -> Described:
    stated = _WEIGHTS.search(line)
    constants = _CONSTANT.findall(match["constants"] or "")
    return Described(
        name=match["name"],
        kind=match["kind"],
        inputs=_DATATYPE.findall(match["inputs"]),
        outputs=_DATATYPE.findall(line[match.end() :]),
        weights=stated[1] if stated else "",
        constants=[(elements(map(int, filter(None, dims.split(",")))), word) for dims, word in constants],
        metadata=line,
    )
