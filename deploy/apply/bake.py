"""From network to image → mask: uint8 RGB in, uint8 label map out, with everything between in the graph.

Upsampling is bilinear with aligned corners, as PIDNet's authors evaluate and as `benchmarks.accuracy` does. Bilinear
interpolation is linear along each side, hence two matrix products. Two forms compute the same:

- `bands`, for CPUs: the rows of the image in bands whose logits stay in the cache between product and ArgMax, each
  from the few rows of logits that it touches. With Resize, OpenVINO takes more than ten times as long.
- `resize`, for GPUs: Resize and ArgMax as they are. As products they would round to TF32.

Measurements are in docs/guides/run.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import TensorProto

from core.errors import UserError
from deploy.apply.feed_pixels import pixels_of, size_of
from deploy.graph import onnx_graph
from deploy.graph.opgraph import DEQUANTIZE, QUANTIZE

Form = Literal["bands", "resize"]
INPUT_NAME, OUTPUT_NAME = "rgb_image", "label_map"
BAND_BYTES = 5 << 18  # of upsampled logits: half of a server core's second-level cache
MOST_CLASSES = 256
_SCOPE = "bake"


@dataclass(frozen=True)
class Normalization:
    """The network sees `(x / 255 - mean) / std` of each RGB channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def bake(source: Path, target: Path, normalization: Normalization, form: Form) -> None:
    """Write the graph of `source` with its pre- and postprocessing inside.

    Args:
        source: one float32 input (N, 3, H, W), or pixels (see `deploy.apply.feed_pixels`), and one float32 output of
            logits (N, classes, h, w); N may be dynamic.
        target: one input `rgb_image`, uint8 (N, H, W, 3) or the pixels, and one output `label_map`, uint8 (N, H, W).

    Raises:
        UserError: `source` has other inputs or outputs.
    """
    graph = onnx_graph.load(source)
    before = _count_qdq(graph)
    height, width = _check(graph, source)
    batch = graph.inputs[0].shape[0]
    if pixels_of(graph.doc_string) is None:
        _normalize(graph, normalization, form)
    else:  # the first convolution normalises
        graph.inputs[0].name = INPUT_NAME
    rows = _label_map(graph, height, width, form)
    rows.name, rows.dtype, rows.shape = OUTPUT_NAME, np.dtype(np.uint8), [batch, height, width]
    graph.outputs = [rows]
    graph.cleanup().toposort()
    if _count_qdq(graph) != before:
        raise AssertionError(f"{source}: baking changed the Q/DQ nodes")
    onnx_graph.save(graph, target)


def _count_qdq(graph: gs.Graph) -> tuple[int, int]:
    ops = [node.op for node in graph.nodes]
    return ops.count(QUANTIZE), ops.count(DEQUANTIZE)


def _check(graph: gs.Graph, source: Path) -> tuple[int, int]:
    """Height and width of the image."""
    tensors = [*graph.inputs, *graph.outputs]
    shapes = [(tensor.dtype, tuple(tensor.shape or ())) for tensor in tensors]
    pixels = pixels_of(graph.doc_string)
    if pixels is not None and shapes:
        shapes[0] = np.dtype(np.float32), (shapes[0][1][0], 3, *size_of(shapes[0][1], pixels["constants"]))
    if (
        (len(graph.inputs), len(graph.outputs)) != (1, 1)
        or any(dtype != np.float32 or len(shape) != 4 for dtype, shape in shapes)
        or not all(isinstance(side, int) for _, shape in shapes for side in shape[1:])
        or shapes[0][1][1] != 3
        or shapes[1][1][1] > MOST_CLASSES
    ):
        found = ", ".join(f"{tensor.name} {tensor.dtype} {tensor.shape}" for tensor in tensors)
        raise UserError(
            f"{source} cannot become an image → mask engine",
            why=f"it has {found}; needed: one float32 input (N, 3, H, W), one float32 output (N, up to 256, h, w)",
            fix="set deploy.image_to_mask to []",
        )
    return shapes[0][1][2], shapes[0][1][3]


def _normalize(graph: gs.Graph, normalization: Normalization, form: Form) -> None:
    """Put uint8 (N, H, W, 3) in front of the float input, as one product and one sum.

    CPUs do both on whole rows: ONNX Runtime moves a Transpose behind them, and then broadcasts three values at a time.
    """
    image = graph.inputs[0]
    std = np.asarray(normalization.std, np.float32)
    gain = 1.0 / (255.0 * std)
    offset = -np.asarray(normalization.mean, np.float32) / std
    batch, _, height, width = image.shape
    pixels = gs.Variable(INPUT_NAME, np.uint8, (batch, height, width, 3))
    graph.inputs = [pixels]
    floats = _add(graph, "Cast", [pixels], to=TensorProto.FLOAT)
    if form == "bands":
        rows = _add(graph, "Reshape", [floats, np.array([0, height, width * 3])])
        shifted = _affine(graph, rows, np.tile(gain, width), np.tile(offset, width))
        whole = _add(graph, "Reshape", [shifted, np.array([0, height, width, 3])])
        planes = _add(graph, "Transpose", [whole], perm=[0, 3, 1, 2])
    else:
        planes = _add(graph, "Transpose", [floats], perm=[0, 3, 1, 2])
        planes = _affine(graph, planes, gain.reshape(1, 3, 1, 1), offset.reshape(1, 3, 1, 1))
    onnx_graph.replace_uses(graph, image, planes)


def _affine(graph: gs.Graph, values: gs.Variable, gain: NDArray[Any], offset: NDArray[Any]) -> gs.Variable:
    scaled = _add(graph, "Mul", [values, gain.astype(np.float32)])
    return _add(graph, "Add", [scaled, offset.astype(np.float32)])


def _label_map(graph: gs.Graph, height: int, width: int, form: Form) -> gs.Variable:
    """Class with the largest upsampled logit, uint8 (N, height, width); the first of equals."""
    logits = graph.outputs[0]
    _, classes, low_height, low_width = logits.shape
    if (low_height, low_width) == (height, width):
        return _argmax(graph, logits, form)
    if form == "resize":
        size = np.array([height, width], np.int64)
        batch = _add(graph, "Slice", [_add(graph, "Shape", [logits]), np.array([0]), np.array([2])])
        sizes = _add(graph, "Concat", [batch, size], axis=0)
        aligned = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
        return _argmax(graph, _add(graph, "Resize", [logits, None, None, sizes], **aligned), form)
    wide = _add(graph, "MatMul", [logits, np.ascontiguousarray(interpolation(width, low_width).T)])
    vertical = interpolation(height, low_height)
    count = -(-classes * height * width * vertical.itemsize // BAND_BYTES)
    bands = []
    for rows in np.array_split(vertical, min(count, height)):
        used = np.flatnonzero(rows.any(axis=0))
        first, last = int(used[0]), int(used[-1]) + 1
        touched = _add(graph, "Slice", [wide, np.array([first]), np.array([last]), np.array([2])])
        band = _add(graph, "MatMul", [np.ascontiguousarray(rows[:, first:last]), touched])
        bands.append(_argmax(graph, band, form))
    return bands[0] if len(bands) == 1 else _add(graph, "Concat", bands, axis=1)


def _argmax(graph: gs.Graph, logits: gs.Tensor, form: Form) -> gs.Variable:
    """TensorRT makes uint8 outputs from floating point only."""
    classes = _add(graph, "ArgMax", [logits], axis=1, keepdims=0)
    if form == "resize":
        classes = _add(graph, "Cast", [classes], to=TensorProto.FLOAT)
    return _add(graph, "Cast", [classes], to=TensorProto.UINT8)


def interpolation(size: int, low_size: int) -> NDArray[np.float32]:
    """(size, low_size): row i holds the weights of bilinear interpolation with aligned corners at position i."""
    positions = np.arange(size) * ((low_size - 1) / max(size - 1, 1))
    left = np.minimum(positions.astype(np.int64), max(low_size - 2, 0))
    right = np.minimum(left + 1, low_size - 1)
    matrix = np.zeros((size, low_size))
    np.add.at(matrix, (np.arange(size), left), 1 - (positions - left))
    np.add.at(matrix, (np.arange(size), right), positions - left)
    return matrix.astype(np.float32)


def _add(graph: gs.Graph, op: str, inputs: list[Any], **attrs: Any) -> gs.Variable:
    """A node behind `inputs` (tensors, arrays, or None for an input left out); returns its result."""
    name = f"{_SCOPE}/{op}_{len(graph.nodes)}"
    tensors = [_tensor(f"{name}/{index}", value) for index, value in enumerate(inputs)]
    result = gs.Variable(f"{name}:0")
    graph.nodes.append(gs.Node(op, name, attrs, tensors, [result]))
    return result


def _tensor(name: str, value: gs.Tensor | NDArray[Any] | None) -> gs.Tensor:
    if value is None:
        return gs.Variable.empty()
    return gs.Constant(name, value) if isinstance(value, np.ndarray) else value
