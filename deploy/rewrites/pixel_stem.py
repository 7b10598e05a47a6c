"""Let the first convolution read 8-bit pixels: normalisation goes into its weights and bias.

    before   image ─▶ Conv(w, b)
    after    image ─▶ (back to centred pixels, in blocks) ─▶ pixels ─▶ Conv(w', b')

`pixels` are integers times a fixed step, so Q/DQ behind them rounds nothing, and `deploy.apply.feed_pixels` can take
away all that is before them. Every block has a fourth, constant channel for each of its pixels. The network pads with
zeros, which lie between two pixel values. The constants are zero there, too, and their weights are the difference:

    inside    Σ wq · (pixel - zero)  =  Σ wq · pixel + (weights of the constants) · constants + (a part of b')
    outside   0                      =  0            + 0

In blocks of 2×2 the constants are 127 (three times) and 1, so that the sum is met to half a step of the integer
accumulator for each block outside the picture. A block of one pixel has one constant, as small as the weights allow;
half of it is the error. Away from the border both are exact.

Source of blocks: TensorFlow's ResNet for MLPerf v0.6 on TPUs ("space-to-depth" of its first convolution).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from deploy.graph.onnx_graph import sort_nodes
from deploy.plan.picture import PIXELS, STEP, Picture
from deploy.plan.plan import EXACT, QuantizationPlan, TensorPlan
from deploy.plan.scale import QMAX, Scale, quantize_array
from deploy.rewrites.stem import COLORS, Axis, Block, sides, stem_of

GAINS, OFFSETS = f"{PIXELS}/gains", f"{PIXELS}/offsets"  # constants: of the three colours, and of a block
_CHANNELS = COLORS + 1
_MOST_ERROR = 0.5  # steps of the accumulator that blocks of several constants may miss by


def pixel_stem(graph: gs.Graph, plan: QuantizationPlan, block: Block) -> tuple[gs.Graph, QuantizationPlan]:
    """Rewrite the convolution that reads the picture of `plan`, in place; its scales follow.

    Nothing changes where the plan has no picture, or the first operator does not fit (see `stem_of`).
    """
    if plan.picture is None:
        return graph, plan
    conv = stem_of(graph, plan.picture)
    if isinstance(conv, str) or not _is_quantized(conv, plan):
        return graph, plan
    return _rewritten(graph, plan, plan.picture, conv, block)


def _is_quantized(conv: gs.Node, plan: QuantizationPlan) -> bool:
    image, weight = (plan.tensors.get(tensor.name) for tensor in conv.inputs[:2])
    return image is not None and weight is not None and weight.axis in (None, 0)


def _rewritten(
    graph: gs.Graph, plan: QuantizationPlan, picture: Picture, conv: gs.Node, wanted: Block
) -> tuple[gs.Graph, QuantizationPlan]:
    image, weight = conv.inputs[:2]
    entry, scale = plan.tensors[weight.name], plan.tensors[weight.name].as_scale
    fold = picture.fold.astype(np.float32).reshape(1, COLORS, 1, 1)
    block, rows, columns = sides(conv, wanted)
    rounded = quantize_array(weight.values / fold, scale).astype(np.int64)
    integers = _in_blocks(rounded, block, rows, columns)
    constants, left = _balance(integers, picture, block, rows, columns)
    if constants is None:  # some block of several pixels outweighs its constants
        return _rewritten(graph, plan, picture, conv, wanted=1)
    step = np.broadcast_to(scale.values.astype(np.float64), (len(integers),)) * picture.weight_gain
    bias = conv.inputs[2].values.astype(np.float64) if len(conv.inputs) > 2 else 0.0
    weight.values = (integers * step.reshape(-1, 1, 1, 1)).astype(np.float32)
    conv.inputs = [
        _pixels(graph, image, picture, constants, (rows.size, columns.size)),
        weight,
        gs.Constant(f"{weight.name}_pixel_bias", (bias + left * step * STEP).astype(np.float32)),
    ]
    conv.attrs["kernel_shape"] = [rows.kernel, columns.kernel]
    conv.attrs["strides"] = [rows.stride, columns.stride]
    conv.attrs["pads"] = [rows.pads[0], columns.pads[0], rows.pads[1], columns.pads[1]]
    sort_nodes(graph.cleanup())
    tensors = {name: tensor for name, tensor in plan.tensors.items() if name != image.name}
    tensors[PIXELS] = TensorPlan(scale=STEP, origin=EXACT, uses=plan.tensors[image.name].uses)
    held = TensorPlan.of(Scale(step.astype(np.float32), 0), entry.origin)
    tensors[weight.name] = held.model_copy(update={"uses": entry.uses, "weight": entry.weight})
    return graph, plan.model_copy(update={"tensors": tensors, "picture": None})


def _in_blocks(weight: NDArray[np.int64], block: Block, rows: Axis, columns: Axis) -> NDArray[np.int64]:
    """(O, 3, kernel) to (O, 4 · block², blocks): a pixel's three channels and a zero, pixel by pixel."""
    found = np.zeros((len(weight), block, block, _CHANNELS, rows.kernel, columns.kernel), np.int64)
    for y, (above, dy) in enumerate(rows.taps):
        for x, (before, dx) in enumerate(columns.taps):
            found[:, dy, dx, :COLORS, above, before] = weight[:, :, y, x]
    return found.reshape(len(weight), -1, rows.kernel, columns.kernel)


def _balance(
    integers: NDArray[np.int64], picture: Picture, block: Block, rows: Axis, columns: Axis
) -> tuple[tuple[int, ...] | None, NDArray[np.float64]]:
    """Set the weights of the constants, in place.

    Returns:
        The constants, one for each pixel of a block, or None where no weights fit; and what is left for the bias, in
        steps of the accumulator.
    """
    colors = integers.reshape(len(integers), -1, _CHANNELS, rows.kernel, columns.kernel)
    wanted = -np.einsum("opchw,c->ohw", colors[:, :, :COLORS], picture.zero)
    leaves = ~np.logical_and.outer(rows.inside, columns.inside)
    missing = np.where(leaves, wanted, 0.0)
    largest = max(1, math.ceil(np.abs(missing).max() / QMAX))
    constants = (largest,) if block == 1 else (QMAX,) * (block * block - 1) + (1,)
    for place, constant in enumerate(constants):
        share = np.clip(np.rint(missing / constant), -QMAX, QMAX)
        colors[:, place, COLORS] = share
        missing = missing - share * constant
    if len(constants) > 1 and np.abs(missing).max() > _MOST_ERROR:
        return None, missing
    given = np.einsum("ophw,p->o", colors[:, :, COLORS], np.asarray(constants, np.float64))
    return constants, wanted.sum((1, 2)) - given


def _pixels(
    graph: gs.Graph, image: gs.Tensor, picture: Picture, constants: tuple[int, ...], size: tuple[int, int]
) -> gs.Variable:
    """`image` as centred pixels and constants in blocks, in units of `STEP`."""
    block, (height, width) = math.isqrt(len(constants)), size
    offsets = [value for constant in constants for value in (*picture.zero, constant)]
    channels = len(offsets)
    gains = gs.Constant(GAINS, (picture.gain * STEP).reshape(1, COLORS, 1, 1).astype(np.float32))
    gained = _add(graph, "Mul", [image, gains])
    opaque = _add(graph, "Pad", [gained, np.array([0, 0, 0, 0, 0, 1, 0, 0])])
    if block > 1:
        split = _add(graph, "Reshape", [opaque, np.array([0, _CHANNELS, height, block, width, block])])
        moved = _add(graph, "Transpose", [split], perm=[0, 3, 5, 1, 2, 4])
        opaque = _add(graph, "Reshape", [moved, np.array([0, channels, height, width])])
    offset = gs.Constant(OFFSETS, (np.asarray(offsets).reshape(1, -1, 1, 1) * STEP).astype(np.float32))
    pixels = gs.Variable(PIXELS, np.float32, [image.shape[0], channels, height, width])
    graph.nodes.append(gs.Node("Add", f"{PIXELS}/Add", inputs=[opaque, offset], outputs=[pixels]))
    return pixels


def _add(graph: gs.Graph, op: str, inputs: list[Any], **attrs: Any) -> gs.Variable:
    name = f"{PIXELS}/{op}_{len(graph.nodes)}"
    tensors = [
        gs.Constant(f"{name}/{index}", value) if isinstance(value, np.ndarray) else value
        for index, value in enumerate(inputs)
    ]
    result = gs.Variable(f"{name}:0", np.float32)
    graph.nodes.append(gs.Node(op, name, attrs, tensors, [result]))
    return result
