"""The convolution that reads the picture, and the geometry of the same convolution over blocks of pixels.

A stride of 2 over pixels is a stride of 1 over blocks of 2×2 pixels with four times the channels:

    3×3, stride 2, pad 1, on 3 × H × W    ─▶    2×2, stride 1, pad 1 before, on 12 × H/2 × W/2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from deploy.plan.picture import Picture
from deploy.plan.scale import QMAX

Block = Literal[1, 2]
COLORS = 3


@dataclass(frozen=True)
class Axis:
    """One side of the picture in blocks: how a kernel of `kernel` blocks moves over `size` of them.

    Attributes:
        taps: (block of the kernel, place in the block) of each tap of the original kernel.
        inside: True for each block of the kernel that lies in the picture wherever the kernel stands.
    """

    size: int
    kernel: int
    stride: int
    pads: tuple[int, int]
    taps: tuple[tuple[int, int], ...]
    inside: NDArray[np.bool_]


def axis(size: int, kernel: int, stride: int, pads: tuple[int, int], block: Block) -> Axis:
    """The geometry of one side; `size` and `stride` are multiples of `block`."""
    places = (size + sum(pads) - kernel) // stride + 1
    reads = [divmod(tap - pads[0], block) for tap in range(kernel)]
    first = min(number for number, _ in reads)
    count = max(number for number, _ in reads) - first + 1
    blocks, step = size // block, stride // block
    starts = np.arange(count) + first
    inside = (starts >= 0) & (starts + (places - 1) * step < blocks)
    end = max(0, (places - 1) * step + count + first - blocks)
    return Axis(blocks, count, step, (-first, end), tuple((number - first, place) for number, place in reads), inside)


def stem_of(graph: gs.Graph, picture: Picture) -> gs.Node | str:
    """The convolution that alone reads the picture and can read pixels instead, or why there is none."""
    if len(graph.inputs) != 1:
        return "the network has several inputs"
    image = graph.inputs[0]
    shape = tuple(image.shape or ())
    if len(shape) != 4 or shape[1] != COLORS or not all(isinstance(side, int) for side in shape[1:]):
        return f"{image.name} is not a picture of three channels and a fixed size"
    if len(image.outputs) != 1 or any(image is output for output in graph.outputs):
        return f"{len(image.outputs)} operators read {image.name}"
    conv = image.outputs[0]
    if conv.op != "Conv" or conv.inputs[0] is not image:
        return f"{conv.name}, which reads {image.name}, is not a convolution of it"
    weight = conv.inputs[1]
    if not all(isinstance(operand, gs.Constant) for operand in conv.inputs[1:]) or len(weight.outputs) != 1:
        return f"the weight of {conv.name} is computed, or another operator reads it, too"
    if conv.attrs.get("group", 1) != 1 or set(conv.attrs.get("dilations", [1])) != {1}:
        return f"{conv.name} has groups or dilations"
    if conv.attrs.get("auto_pad", "NOTSET") != "NOTSET" or min(conv.attrs.get("pads", [0])) < 0:
        return f"{conv.name} has no fixed padding"
    if any(conv.attrs.get("pads", [0])) and np.abs(picture.zero).sum() > QMAX:
        return f"{conv.name} pads with zeros, which with a mean of {picture.mean} are far from the middle of pixels"
    return conv


def sides(conv: gs.Node, wanted: Block) -> tuple[Block, Axis, Axis]:
    """The block that fits and the geometry of height and width: blocks of one pixel where 2×2 do not fit."""
    height, width = conv.inputs[0].shape[2:]
    kernel = conv.inputs[1].shape[2:]
    strides = conv.attrs.get("strides", [1, 1])
    top, left, bottom, right = conv.attrs.get("pads", [0, 0, 0, 0])
    pads = (top, bottom), (left, right)
    fits = list(strides) == [wanted, wanted] and not height % wanted and not width % wanted
    block: Block = wanted if fits else 1
    rows, columns = (
        axis(side, size, stride, pad, block)
        for side, size, stride, pad in zip((height, width), kernel, strides, pads, strict=True)
    )
    return block, rows, columns
