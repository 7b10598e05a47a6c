"""Layers of an ONNX Runtime engine: the operators of its optimised graph."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx as onnx_package
from numpy.typing import NDArray

from deploy.bundle.types import Bundle
from deploy.targets.base import LayerInfo, Tensor
from deploy.targets.onnxruntime.engine import MODEL, open_session

_KERNEL_TIME = "_kernel_time"
_INT8_CONVOLUTIONS = {"QLinearConv", "ConvInteger"}
_FLOAT_CONVOLUTIONS = {"Conv", "FusedConv", "ConvTranspose"}
_INT8_PREFIXES = ("QLinear", "QGemm", "QAttention", "MatMulInteger", "DynamicQuantize")
# Names of the profiler and `NodeArg.type`; both use numpy's names for all other types.
_DTYPES = {"uint8": "int8", "float": "fp32", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_NUMPY = {"float": "float32"}


def layers_of(bundle: Bundle) -> list[LayerInfo]:
    """Operators of the graph as ONNX Runtime has optimised and fused it.

    One inference on zeros, under the profiler, gives the shapes that the optimised graph lacks.
    """
    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        session = open_session(bundle.dir / MODEL, bundle.manifest["threads"], optimized, Path(folder))
        feeds = {value.name: _zeros(value) for value in session.get_inputs()}
        session.run(None, feeds)
        events = kernel_events(session)
        graph = onnx_package.load(str(optimized)).graph
    outputs = {name: event["args"]["output_type_shape"] for name, event in events}
    constants = {value.name: _constant(value) for value in graph.initializer}
    tensors = {name: Tensor(value.shape, _dtype(value.dtype.name)) for name, value in feeds.items()}
    for node in graph.node:
        tensors |= zip(node.output, map(_described, outputs.get(node.name, ())), strict=False)
    return [_layer(node, tensors, constants) for node in graph.node]


def kind_of(operator: str) -> str:
    """ "Conv" for every convolution, else the operator's name."""
    return "Conv" if operator in _INT8_CONVOLUTIONS | _FLOAT_CONVOLUTIONS else operator


def precision_of(operator: str) -> str:
    """The precision of a CPU kernel, which follows from its operator."""
    int8 = operator in _INT8_CONVOLUTIONS or operator.startswith(_INT8_PREFIXES)
    return "int8" if int8 else "fp32"


def kernel_events(session: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Ends profiling; name of the node and event of every kernel that ran, in order."""
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return [
        (event["name"].removesuffix(_KERNEL_TIME), event)
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL_TIME)
    ]


def _zeros(value: Any) -> NDArray[Any]:
    named = value.type.removeprefix("tensor(").removesuffix(")")
    return np.zeros([side if isinstance(side, int) else 1 for side in value.shape], _NUMPY.get(named, named))


def _constant(initializer: Any) -> Tensor:
    dtype = onnx_package.helper.tensor_dtype_to_np_dtype(initializer.data_type)
    return Tensor(tuple(initializer.dims), _dtype(dtype.name))


def _described(tensor: Mapping[str, Sequence[int]]) -> Tensor:
    """A tensor as the profiler writes it: `{"uint8": [1, 180, 240, 32]}`."""
    ((named, shape),) = tensor.items()
    return Tensor(tuple(shape), _dtype(named))


def _dtype(named: str) -> str:
    return _DTYPES.get(named, named)


def _layer(node: Any, tensors: Mapping[str, Tensor], constants: Mapping[str, Tensor]) -> LayerInfo:
    last = any(attribute.name == "channels_last" and attribute.i for attribute in node.attribute)

    def found(names: Iterable[str]) -> tuple[Tensor, ...]:
        return tuple(_channels_second(tensors[name]) if last else tensors[name] for name in names if name in tensors)

    return LayerInfo(
        name=node.name,
        kind=kind_of(node.op_type),
        precision=precision_of(node.op_type),
        detail=node.op_type,
        inputs=found(node.input),
        constants=tuple(constants[name] for name in node.input if name in constants),
        outputs=found(node.output),
    )


def _channels_second(tensor: Tensor) -> Tensor:
    """An N×H×W×C image as N×C×H×W; other tensors unchanged."""
    shape = tensor.shape
    return Tensor((shape[0], shape[3], shape[1], shape[2]), tensor.dtype) if len(shape) == 4 else tensor
