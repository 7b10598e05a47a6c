"""Take the average error of quantized weights and inputs back out of the biases.

    e = mean over pictures and places of  Conv(x, w) + b  -  (Conv(Q(x), Q(w)) + b)       per output channel
    b ─▶ b + e

Rounding and clipping shift the mean of an output channel; activations and later layers do not average that away.
Every layer sees the float network's inputs, so one run over the pictures gives all errors, exact for each layer alone.
Method: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019 (empirical
form). Measured gains are in docs/guides/quantize.md.

A MatMul has no bias: its errors go into the constant of the Add behind it.

Look-alikes left alone: an operator whose weight stays float on the target, and a MatMul without such an Add.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from core.console import track
from deploy.apply.insert import quantizer_parameters
from deploy.apply.passes import IS_FLOAT, Pass
from deploy.graph.debug_session import watching
from deploy.graph.opgraph import DEQUANTIZE, QUANTIZE
from deploy.plan.plan import QuantizationPlan
from deploy.plan.scale import Scale, broadcast, quantize_array

Errors = dict[str, NDArray[np.float32]]  # by operator, one value an output channel
_BIAS = 2  # which input of a weighted operator
_AXES_ARE_INPUT = 18  # opset since which ReduceMean takes its axes as an input


def bias_correction(images: Sequence[NDArray[Any]]) -> Pass:
    """The pass; `images` are the network inputs that ranges were measured on."""

    def run(graph: gs.Graph, plan: QuantizationPlan) -> tuple[gs.Graph, QuantizationPlan]:
        return corrected(graph, mean_errors(graph, plan, images)), plan

    return Pass("bias correction", run, requires=(IS_FLOAT,), ensures=(IS_FLOAT,))


def mean_errors(graph: gs.Graph, plan: QuantizationPlan, images: Sequence[NDArray[Any]]) -> Errors:
    """Mean of (float - quantized) output by operator whose weight `plan` quantizes: one value an output channel.

    Args:
        plan: decided for a target (see `deploy.placement.planning.decide`).
        images: network inputs, (1, C, H, W) each.
    """
    twins, scales = graph.copy(), plan.scales()
    quantized = {use.node for weight in plan.weights.values() for use in weight.uses}
    nodes = [node for node in twins.nodes if node.name in quantized and (node.op != "MatMul" or _adder(node))]
    means = {node.name: _twin(twins, node, scales) for node in nodes}
    names = [tensor.name for tensor in means.values()]
    twins.outputs = [*twins.outputs, *means.values()]
    session = watching(gs.export_onnx(twins.toposort()), names)
    feed = session.get_inputs()[0].name
    sums = [np.zeros(0, np.float64)] * len(names)
    for image in track(images, "bias correction"):
        values = session.run(names, {feed: image})
        sums = [
            value + total if total.size else value.astype(np.float64) for value, total in zip(values, sums, strict=True)
        ]
    return {name: (total / len(images)).astype(np.float32) for name, total in zip(means, sums, strict=True)}


def corrected(graph: gs.Graph, errors: Errors) -> gs.Graph:
    """A copy of `graph` with these errors added to its biases; an operator without a bias gets one."""
    graph = graph.copy()
    for node in graph.nodes:
        adder = _adder(node) if node.name in errors else None
        if adder is not None:
            index = isinstance(adder.inputs[1], gs.Constant)
            shifted = np.asarray(adder.inputs[index].values + errors[node.name], np.float32)
            adder.inputs[index] = gs.Constant(f"{node.name}_corrected_bias", shifted)
        elif node.name in errors:
            known = node.inputs[_BIAS].values if len(node.inputs) > _BIAS else 0
            values = np.asarray(known + errors[node.name] / node.attrs.get("beta", 1.0), np.float32)
            node.inputs = [*node.inputs[:_BIAS], gs.Constant(f"{node.name}_corrected_bias", values)]
    return graph.cleanup()


def _adder(node: gs.Node) -> gs.Node | None:
    """The Add of one constant an output channel that alone reads a MatMul of known rank."""
    readers = node.outputs[0].outputs
    if node.op != "MatMul" or node.outputs[0].shape is None or len(readers) != 1 or readers[0].op != "Add":
        return None
    channels = node.inputs[1].shape[-1]
    bias = [tensor.values for tensor in readers[0].inputs if isinstance(tensor, gs.Constant)]
    return readers[0] if bias and bias[0].shape == (channels,) else None


def _twin(graph: gs.Graph, node: gs.Node, scales: dict[str, Scale]) -> gs.Variable:
    """The mean difference between `node` and its quantized twin, which is added to the graph."""
    source, weight = node.inputs[:2]
    base = f"{node.name}_bias_correction"
    steps = scales[weight.name]
    rounded = quantize_array(weight.values, steps) * broadcast(steps.values, steps.axis, weight.values.ndim)
    result, error, mean = (gs.Variable(f"{base}_{part}") for part in ("y", "error", "mean"))
    mean.dtype = np.dtype(np.float32)
    of_output = {"Gemm": [0], "MatMul": list(range(len(node.outputs[0].shape or ()) - 1))}
    axes = np.array(of_output.get(node.op, [0, *range(2, weight.values.ndim)]), np.int64)
    by_input = graph.opset >= _AXES_ARE_INPUT
    reduce_inputs = [error, gs.Constant(f"{base}_axes", axes)] if by_input else [error]
    reduce_attrs: dict[str, Any] = {"keepdims": 0} if by_input else {"keepdims": 0, "axes": axes.tolist()}
    weights = gs.Constant(f"{base}_weight", rounded.astype(np.float32))
    if source.name in scales:
        source = _rounded(graph, base, source, scales[source.name])
    graph.nodes += [
        gs.Node(node.op, base, dict(node.attrs), [source, weights, *node.inputs[_BIAS:]], [result]),
        gs.Node("Sub", f"{base}_Sub", {}, [node.outputs[0], result], [error]),
        gs.Node("ReduceMean", f"{base}_Mean", reduce_attrs, reduce_inputs, [mean]),
    ]
    return mean


def _rounded(graph: gs.Graph, base: str, source: gs.Tensor, scale: Scale) -> gs.Variable:
    """`source` behind a pair of its own."""
    constants = quantizer_parameters(base, scale)
    integers, floats = gs.Variable(f"{base}_quantized"), gs.Variable(f"{base}_dequantized")
    graph.nodes += [
        gs.Node(QUANTIZE, f"{base}_Q", {}, [source, *constants], [integers]),
        gs.Node(DEQUANTIZE, f"{base}_DQ", {}, [integers, *constants], [floats]),
    ]
    return floats
