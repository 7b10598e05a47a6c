"""Networks of one convolution behind a picture, and their plan."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from deploy.graph import onnx_graph
from deploy.plan.picture import Picture
from deploy.plan.plan import QuantizationPlan, Use
from deploy.plan.scale import Scale, max_scale

PICTURE = Picture(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
OUT = 16


def stem(kernel=3, stride=2, pad=1, size=(12, 16), bias=True, seed=0, relu=True, **attrs) -> gs.Graph:
    """`image` ─▶ Conv `stem` ─▶ Relu, with random weights."""
    random = np.random.default_rng(seed)
    image = gs.Variable("image", np.float32, [1, 3, *size])
    weight = gs.Constant("weight", random.standard_normal((OUT, 3, kernel, kernel)).astype(np.float32))
    more = [gs.Constant("bias", random.standard_normal(OUT).astype(np.float32))] if bias else []
    made = gs.Variable("made", np.float32)
    geometry = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4, **attrs}
    nodes = [gs.Node("Conv", "stem", geometry, [image, weight, *more], [made])]
    result = gs.Variable("result", np.float32) if relu else made
    nodes += [gs.Node("Relu", "relu", inputs=[made], outputs=[result])] if relu else []
    return onnx_graph.clean(gs.Graph(nodes, inputs=[image], outputs=[result], opset=18, ir_version=8))


def plan_of(graph: gs.Graph, picture: Picture | None = PICTURE) -> QuantizationPlan:
    """Quantized picture and folded weight, as training with pixels leaves them."""
    weight = graph.tensors()["weight"].values / PICTURE.fold.astype(np.float32).reshape(1, 3, 1, 1)
    scales = {"image": Scale(np.float32(PICTURE.largest / 127)), "weight": max_scale(weight, 0)}
    plan = QuantizationPlan(picture=picture).adding(scales, "test")
    uses = {name: (Use(node="stem", input=index, rule="weighted-ops"),) for index, name in enumerate(scales)}
    tensors = {
        name: entry.model_copy(update={"uses": uses[name], "weight": name == "weight"})
        for name, entry in plan.tensors.items()
    }
    return plan.model_copy(update={"tensors": tensors})


def pictures(size=(12, 16), count=1, seed=1):
    """uint8 (count, H, W, 3), black and white among them."""
    return np.random.default_rng(seed).choice([0, 255, 77, 128, 200], (count, *size, 3)).astype(np.uint8)


def normalized(pixels):
    """float32 (N, 3, H, W), as the network sees them."""
    found = (pixels / 255 - np.asarray(PICTURE.mean)) / np.asarray(PICTURE.std)
    return found.transpose(0, 3, 1, 2).astype(np.float32)


def followed(graph: gs.Graph, channels=16) -> gs.Graph:
    """`graph` with two more convolutions, behind which no result is a graph output of an integer convolution."""
    random = np.random.default_rng(7)
    source = graph.outputs[0]
    for index, (wide, deep) in enumerate(((OUT, channels), (channels, 4))):
        weight = gs.Constant(f"weight_{index}", random.standard_normal((deep, wide, 3, 3)).astype(np.float32))
        made, result = (gs.Variable(f"{name}_{index}", np.float32) for name in ("made", "active"))
        graph.nodes += [
            gs.Node("Conv", f"conv_{index}", {"kernel_shape": [3, 3], "pads": [1] * 4}, [source, weight], [made]),
            gs.Node("Relu", f"relu_{index}", inputs=[made], outputs=[result]),
        ]
        source = result
    graph.outputs = [source]
    return onnx_graph.clean(graph)
