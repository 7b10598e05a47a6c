"""FP16 in the graph: strongly typed builders take precision from the tensors, not from a flag."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import version_converter

from deploy.apply.passes import IS_INSERTED, Pass
from deploy.graph import onnx_graph
from deploy.plan.plan import QuantizationPlan

HALF_SCALES_SINCE = 19  # opset: Q/DQ with FP16 scales, whose type is that of the dequantized tensor
_FLOAT_INPUTS = {"Resize": (1, 2)}  # roi and scales are parameters, not data, and stay float32


def to_fp16(source: Path, target: Path) -> None:
    """Write the float graph of `source` with FP16 weights and activations; graph inputs and outputs stay float32.

    The conversion is ONNX Runtime's (`onnxruntime.transformers.float16`), which keeps operators without an FP16 form
    in float32 and clips constants to FP16's range.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    converted = convert_float_to_float16(onnx.load(str(source)), keep_io_types=True)
    onnx_graph.save(gs.import_onnx(converted).cleanup().toposort(), target)


def fallback_to_fp16() -> Pass:
    """The pass that makes FP16 the fallback precision of a Q/DQ graph."""

    def run(graph: gs.Graph, plan: QuantizationPlan) -> tuple[gs.Graph, QuantizationPlan]:
        return cast_float_part(graph), plan

    return Pass("fallback precision FP16", run, requires=(IS_INSERTED,), ensures=(IS_INSERTED,))


def cast_float_part(graph: gs.Graph) -> gs.Graph:
    """The Q/DQ graph with FP16 as its fallback precision; its inputs and outputs stay float32.

    Scales become FP16, too: a strongly typed builder gives a dequantized tensor the type of its scale. A cast after a
    DequantizeLinear would separate it from the convolution that it fuses with. Integers and zero points stay.
    Source: ONNX operators QuantizeLinear-19 and DequantizeLinear-19; NVIDIA TensorRT documentation, "Strongly Typed
    Networks".
    """
    if graph.opset < HALF_SCALES_SINCE:
        model = version_converter.convert_version(gs.export_onnx(graph), HALF_SCALES_SINCE)
        graph = gs.import_onnx(model)
    kept = {
        id(node.inputs[index])
        for node in graph.nodes
        for index in _FLOAT_INPUTS.get(node.op, ())
        if index < len(node.inputs)
    }
    interface = {id(tensor) for tensor in (*graph.inputs, *graph.outputs)}
    for tensor in graph.tensors().values():
        if tensor.dtype != np.float32 or id(tensor) in kept | interface:
            continue
        if isinstance(tensor, gs.Constant):
            tensor.values = _half(tensor.values)
        else:
            tensor.dtype = np.float16
    for node in graph.nodes:
        if node.op == "Cast" and node.attrs["to"] == onnx.TensorProto.FLOAT:
            node.attrs["to"] = onnx.TensorProto.FLOAT16
    _cast_interface(graph)
    return graph.cleanup().toposort()


def _half(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """Nearest FP16 values; positive scales stay positive and finite."""
    limits = np.finfo(np.float16)
    half = np.clip(values, limits.min, limits.max).astype(np.float16)
    return np.where((half == 0) & (values > 0), limits.smallest_subnormal, half)


def _cast_interface(graph: gs.Graph) -> None:
    for tensor in graph.inputs:
        if tensor.dtype != np.float32:
            continue
        half = gs.Variable(f"{tensor.name}_fp16", np.float16, tensor.shape)
        for node in list(tensor.outputs):
            node.inputs = [half if item is tensor else item for item in node.inputs]
        graph.nodes.append(gs.Node("Cast", f"{tensor.name}_to_fp16", {"to": np.float16}, [tensor], [half]))
    for tensor in graph.outputs:
        if tensor.dtype != np.float32:
            continue
        (maker,) = tensor.inputs
        half = gs.Variable(f"{tensor.name}_fp16", np.float16, tensor.shape)
        maker.outputs = [half if item is tensor else item for item in maker.outputs]
        for node in list(tensor.outputs):
            node.inputs = [half if item is tensor else item for item in node.inputs]
        graph.nodes.append(gs.Node("Cast", f"{tensor.name}_to_fp32", {"to": np.float32}, [half], [tensor]))
