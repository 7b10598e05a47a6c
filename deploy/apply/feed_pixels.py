"""Take away what is before the first quantized pixels: the engine's input is then 8 bits, and nothing is rounded.

    before   image, float32 (N, 3, H, W) ─▶ Mul ─▶ … ─▶ pixels ─▶ Q ─▶ DQ ─▶ Conv
    after    image, int8 or uint8 (N, H/b, W/b, 4·b²) ─▶ (channels second) ─▶ DQ ─▶ Conv

Channels are last, as a picture has them. The order of Reshape and Transpose is the one that every engine removes: with
a single Transpose OpenVINO computes the convolution in float (2026.4).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs

from deploy.graph import onnx_graph
from deploy.graph.opgraph import QUANTIZE
from deploy.plan.picture import PIXELS, STEP
from deploy.rewrites.pixel_stem import GAINS, OFFSETS
from deploy.rewrites.stem import COLORS

_SCOPE = "feed"


def reads_pixels(source: Path) -> bool:
    """True if `deploy.rewrites.pixel_stem` rewrote the Q/DQ graph of `source`, and its pixels are quantized."""
    return _quantizer(onnx_graph.load(source)) is not None


def takes_pixels(source: Path) -> bool:
    """True if the graph of `source` comes from `feed_pixels`."""
    return pixels_of(onnx_graph.load(source).doc_string) is not None


def feed_pixels(source: Path, target: Path) -> None:
    """Write the Q/DQ graph of `source`, which reads pixels, so that it takes them."""
    graph = onnx_graph.load(source)
    quantizer = _quantizer(graph)
    if quantizer is None:
        raise AssertionError(f"{source} reads no pixels")
    facts = _facts(graph)
    _cut(graph, quantizer.outputs[0], [int(side) for side in quantizer.inputs[0].shape[1:]])
    graph.doc_string = json.dumps({PIXELS: facts})
    onnx_graph.save(graph, target)


def fed(source: Path) -> Path:
    """A file beside `source` that takes pixels, written now; `source` itself where it does not read any."""
    if not reads_pixels(source):
        return source
    target = source.with_name(f"{source.stem}-pixels.onnx")
    feed_pixels(source, target)
    return target


def pixels_of(doc_string: str | None) -> dict[str, list[float]] | None:
    """Facts about the input of a graph of `feed_pixels`, for manifests; None for another graph.

    `constants` belong to a block (see `deploy.rewrites.pixel_stem`); a pixel is 128 + `zero` + `gain` times what the
    network sees of it, by colour.

    Args:
        doc_string: of the graph; whatever rewrites the graph keeps it.
    """
    try:
        found = json.loads(doc_string or "")[PIXELS]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, dict) and found.keys() == {"constants", "gain", "zero"} else None


def _quantizer(graph: gs.Graph) -> gs.Node | None:
    pixels = graph.tensors().get(PIXELS)
    readers = list(pixels.outputs) if pixels is not None and OFFSETS in graph.tensors() else []
    return readers[0] if [node.op for node in readers] == [QUANTIZE] else None


def _facts(graph: gs.Graph) -> dict[str, list[float]]:
    """As `pixels_of` gives them; the last of the four channels of each pixel is its constant."""
    gains, offsets = (np.asarray(graph.tensors()[name].values, np.float64) / STEP for name in (GAINS, OFFSETS))
    of_pixels = offsets.reshape(-1, COLORS + 1)
    constants = [round(value) for value in of_pixels[:, COLORS].tolist()]
    return {"constants": constants, "gain": gains.reshape(-1).tolist(), "zero": of_pixels[0, :COLORS].tolist()}


def _cut(graph: gs.Graph, integers: gs.Variable, shape: Sequence[int]) -> None:
    channels, height, width = shape
    old, dtype = graph.inputs[0], integers.dtype
    readers = list(integers.outputs)
    image = gs.Variable(old.name, dtype, [old.shape[0], height, width, channels])
    old.name = f"{old.name}/float"
    rows, turned, planes = (gs.Variable(f"{_SCOPE}/{index}", dtype) for index in range(3))
    sizes = np.array([0, height * width, channels]), np.array([0, channels, height, width])
    first, last = (gs.Constant(f"{_SCOPE}/size_{index}", size) for index, size in enumerate(sizes))
    graph.nodes += [
        gs.Node("Reshape", f"{_SCOPE}/rows", inputs=[image, first], outputs=[rows]),
        gs.Node("Transpose", f"{_SCOPE}/turn", {"perm": [0, 2, 1]}, [rows], [turned]),
        gs.Node("Reshape", f"{_SCOPE}/planes", inputs=[turned, last], outputs=[planes]),
    ]
    for reader in readers:
        reader.inputs = [planes if tensor is integers else tensor for tensor in reader.inputs]
    graph.inputs = [image]
    graph.cleanup().toposort()


def size_of(shape: Sequence[int | str | None], constants: Sequence[float]) -> tuple[int, int]:
    """Height and width in pixels of an input in blocks."""
    block = math.isqrt(len(constants))
    return int(shape[1] or 0) * block, int(shape[2] or 0) * block
