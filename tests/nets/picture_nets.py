"""Small ONNX networks for pictures, in the forms of other people's files, and pictures for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 32
CLASSES = 5


def pictures(folder: Path, count: int, side: int = 40, seed: int = 0) -> Path:
    """`count` smooth random pictures as PNG files."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        small = random.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{index:03d}.png"), cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC))
    return folder


def network(
    path: Path,
    *,
    layout: str = "NCHW",
    sides: tuple[Any, Any, Any] = (1, SIDE, SIDE),
    channels: Any = 3,
    opset: int = 17,
    dtype: int = TensorProto.FLOAT,
    outputs: tuple[str, ...] = ("scores",),
    extra: tuple[onnx.NodeProto, ...] = (),
    inputs: int = 1,
    scale: float = 1.0,
) -> Path:
    """Two convolutions, the second depthwise, and heads: `scores` (N, C), `map` (N, C, H, W), `mask` (N, 1, H, W).

    Args:
        sides: batch, height and width of the input; names for sides that are open.
        extra: nodes from the first convolution's result, `features`, to the next layer's input, `deep`.
        scale: of the first weights; a large one makes the network overflow.
    """
    random = np.random.default_rng(1)
    constants: list[onnx.TensorProto] = []

    def weight(name: str, *shape: int, factor: float = 1.0) -> str:
        fan = int(np.prod(shape[1:])) or 1
        values = (random.standard_normal(shape) * factor / np.sqrt(fan)).astype(np.float32)
        kind = {TensorProto.FLOAT16: np.float16}.get(dtype, np.float32)
        constants.append(numpy_helper.from_array(values.astype(kind), name))
        return name

    def node(op: str, sources: list[str], result: str, **attrs: Any) -> onnx.NodeProto:
        return helper.make_node(op, sources, [result], name=f"{result}_{op}", **attrs)

    depth = channels if isinstance(channels, int) else 3
    batch, height, width = sides
    nodes, source = [], "image"
    if layout == "NHWC":
        nodes.append(node("Transpose", ["image"], "planes", perm=[0, 3, 1, 2]))
        source = "planes"
    nodes += [
        node("Conv", [source, weight("w1", 8, depth, 3, 3, factor=scale), weight("b1", 8)], "c1", pads=[1] * 4),
        node("Relu", ["c1"], "features"),
        *(extra or [node("Identity", ["features"], "deep")]),
        node("Conv", ["deep", weight("w2", 8, 1, 3, 3)], "c2", pads=[1] * 4, group=8),
        node("Relu", ["c2"], "r2"),
        node("Conv", ["r2", weight("w3", 8, 8, 1, 1)], "c3"),
        node("Add", ["c3", "deep"], "sum"),
    ]
    shapes: dict[str, list[Any]] = {"scores": [batch, CLASSES], "map": [batch, CLASSES, height, width]}
    shapes["mask"] = [batch, 1, height, width]
    if "scores" in outputs:
        nodes += [
            node("GlobalAveragePool", ["sum"], "pooled"),
            node("Flatten", ["pooled"], "flat"),
            node("Gemm", ["flat", weight("w4", CLASSES, 8)], "scores", transB=1),
        ]
    if "map" in outputs:
        nodes.append(node("Conv", ["sum", weight("w5", CLASSES, 8, 1, 1)], "map"))
    if "mask" in outputs:
        nodes += [
            node("Conv", ["sum", weight("w6", 1, 8, 1, 1)], "mask_logit"),
            node("Sigmoid", ["mask_logit"], "mask"),
        ]
    shape = [batch, channels, height, width] if layout == "NCHW" else [batch, height, width, channels]
    names = ["image", *(f"extra_{index}" for index in range(1, inputs))]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, dtype, shape) for name in names],
        [helper.make_tensor_value_info(name, dtype, shapes[name]) for name in outputs],
        constants,
    )
    imports = [helper.make_opsetid("", opset), *([helper.make_opsetid("my.ops", 1)] if extra else [])]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), str(path))
    return path
