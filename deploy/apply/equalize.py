"""Give every channel that a depthwise convolution reads the same range, so that one scale fits all of them.

    before   x ───────────────▶ Conv(groups = channels, w)
    after    x ─▶ Mul(s) ──────▶ Conv(groups = channels, w / s)         s = largest range / own range, per channel

Equal because each output channel reads one input channel, and zero padding stays zero. Channels of such networks differ
a hundredfold in range; with one scale the small ones keep no bits. Where a convolution or its Relu makes the input, and
it has no other reader, s is folded into that convolution instead. Method: Nagel et al., "Data-Free Quantization Through
Weight Equalization and Bias Correction", ICCV 2019, with measured ranges in place of weights' ranges. Gains are in
docs/guides/quantize.md.

Look-alikes left alone: grouped convolutions that read several channels, and ranges that differ by less than `LEAST`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from core.console import track
from deploy.graph.debug_session import watching
from deploy.graph.onnx_graph import sort_nodes
from deploy.rewrites.affine import scalable_conv

MOST = 256.0  # limits the factor of nearly silent channels, which would magnify rounding errors
LEAST = 2.0


def depthwise_inputs(graph: gs.Graph) -> list[str]:
    """Tensors that depthwise convolutions with constant weights read."""
    return list(dict.fromkeys(node.inputs[0].name for node in graph.nodes if is_depthwise(node)))


def is_depthwise(node: gs.Node) -> bool:
    """Return True if each output channel of a Conv reads one input channel of several."""
    if node.op != "Conv" or node.attrs.get("group", 1) == 1 or not isinstance(node.inputs[1], gs.Constant):
        return False
    weight = node.inputs[1]
    return len(weight.outputs) == 1 and weight.values.shape[1] == 1


def channel_ranges(graph: gs.Graph, tensors: Sequence[str], images: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Largest magnitude by channel (axis 1) of each tensor over the images."""
    session = watching(gs.export_onnx(graph), tensors)
    feed = session.get_inputs()[0].name
    found: dict[str, NDArray[Any]] = {}
    for image in track(images, "channel ranges"):
        for name, value in zip(tensors, session.run(list(tensors), {feed: image}), strict=True):
            largest = np.abs(value).max(axis=(0, *range(2, value.ndim)))
            found[name] = np.maximum(found[name], largest) if name in found else largest
    return found


def equalized(graph: gs.Graph, ranges: Mapping[str, NDArray[Any]]) -> gs.Graph:
    """A copy of `graph` that computes the same, with depthwise inputs equalised where `ranges` has them."""
    graph = graph.copy()
    for node in [node for node in graph.nodes if is_depthwise(node) and node.inputs[0].name in ranges]:
        factors = _factors(ranges[node.inputs[0].name])
        if factors.max() < LEAST:
            continue
        weight = node.inputs[1]
        repeats = weight.values.shape[0] // factors.size
        shrunk = weight.values / np.repeat(factors, repeats).reshape(-1, 1, *[1] * (weight.values.ndim - 2))
        if _fold_before(graph, node.inputs[0], factors):
            weight.values = shrunk.astype(np.float32)
            continue
        scaled = gs.Variable(f"{node.name}_equalized", np.dtype(np.float32), node.inputs[0].shape)
        shape = (1, -1, *[1] * (weight.values.ndim - 2))
        constant = gs.Constant(f"{node.name}_equalizer", factors.reshape(shape))
        graph.nodes.append(gs.Node("Mul", f"{node.name}_equalize", {}, [node.inputs[0], constant], [scaled]))
        node.inputs[0] = scaled
        weight.values = shrunk.astype(np.float32)
    sort_nodes(graph.cleanup())
    return graph


def _factors(ranges: NDArray[Any]) -> NDArray[np.float32]:
    """Powers of two, so that nothing is rounded; 1 for a channel that is always zero."""
    wanted = np.where(ranges > 0, ranges.max() / np.maximum(ranges, np.finfo(np.float32).tiny), 1.0)
    return np.asarray(np.exp2(np.floor(np.log2(np.clip(wanted, 1.0, MOST)))), np.float32)


def _fold_before(graph: gs.Graph, tensor: gs.Tensor, factors: NDArray[np.float32]) -> bool:
    """Scale the output channels of the convolution that makes `tensor`, if that changes nothing else."""
    relu = tensor.inputs[0] if tensor.inputs and tensor.inputs[0].op == "Relu" else None
    alone = len(tensor.outputs) == 1 and not any(tensor is output for output in graph.outputs)
    conv = scalable_conv(graph, relu.inputs[0] if relu is not None else tensor) if alone else None
    if conv is None or conv.op != "Conv":
        return False
    weight = conv.inputs[1]
    weight.values = (weight.values * factors.reshape(-1, *[1] * (weight.values.ndim - 1))).astype(np.float32)
    if len(conv.inputs) > 2:
        conv.inputs[2] = gs.Constant(
            f"{conv.name}_equalized_bias", (conv.inputs[2].values * factors).astype(np.float32)
        )
    return True
