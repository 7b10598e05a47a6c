"""Random networks as ONNX: branches, fan-out, joins and every kind of op that placement rules look at."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import onnxruntime
from hypothesis import strategies as st
from numpy.typing import NDArray

OPS = ("Conv", "GroupedConv", "PadConv", "Relu", "BatchNormalization", "MaxPool", "AveragePool", "Linear", "Nearest")
JOINS = ("Add", "Concat", "Gate")
MAX_SIDE, MAX_CHANNELS = 16, 32


class Builder:
    """Grows a graph op by op from the (1, 4, 8, 8) input `x`; weights come from a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.x = gs.Variable("x", np.float32, (1, 4, 8, 8))
        self.tensors = [self.x]
        self.nodes: list[gs.Node] = []

    def op(self, kind: str, inputs: list[gs.Tensor], shape: tuple[int, ...], **attrs: object) -> gs.Variable:
        name = f"t{len(self.nodes)}"
        output = gs.Variable(name, np.float32, shape)
        self.nodes.append(gs.Node(kind, f"{name}_{kind}", attrs, inputs, [output]))
        self.tensors.append(output)
        return output

    def constant(self, values: object) -> gs.Constant:
        return gs.Constant(f"c{len(self.nodes)}_{self.rng.integers(1 << 30)}", np.asarray(values))

    def weight(self, *shape: int) -> gs.Constant:
        fan_in = int(np.prod(shape[1:]))
        return self.constant((self.rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32))

    def conv(self, x: gs.Tensor, groups: int = 1, pad: int = 1) -> gs.Variable:
        _, channels, height, width = x.shape
        outputs = channels if groups > 1 else int(self.rng.choice([4, 8]))
        shape = (1, outputs, height - 2 + 2 * pad, width - 2 + 2 * pad)
        inputs = [x, self.weight(outputs, channels // groups, 3, 3)]
        return self.op("Conv", inputs, shape, kernel_shape=[3, 3], pads=[pad] * 4, group=groups)

    def unary(self, kind: str, x: gs.Tensor) -> None:
        _, channels, height, width = x.shape
        if kind == "Conv":
            self.conv(x)
        elif kind == "GroupedConv":
            self.conv(x, groups=int(self.rng.choice([4, channels])))
        elif kind == "PadConv":
            pads = self.constant(np.array([0, 0, 1, 1] * 2, np.int64))
            self.conv(self.op("Pad", [x, pads], (1, channels, height + 2, width + 2), mode="constant"), pad=0)
        elif kind == "BatchNormalization":
            uniform = [self.rng.uniform(low, high, channels) for low, high in ((0.5, 1.5), (-1, 1), (-1, 1), (0.5, 2))]
            self.op(kind, [x, *(self.constant(values.astype(np.float32)) for values in uniform)], x.shape)
        elif kind in ("MaxPool", "AveragePool"):
            self.op(kind, [x], x.shape, kernel_shape=[3, 3], pads=[1] * 4)
        elif kind in ("Linear", "Nearest") and height < MAX_SIDE:
            empty, scales = gs.Variable.empty(), self.constant(np.array([1, 1, 2, 2], np.float32))
            self.op("Resize", [x, empty, scales], (1, channels, 2 * height, 2 * width), mode=kind.lower())
        else:
            self.op("Relu", [x], x.shape)

    def join(self, kind: str, x: gs.Tensor, y: gs.Tensor) -> None:
        if kind == "Concat" and x.shape[2:] == y.shape[2:] and x.shape[1] + y.shape[1] <= MAX_CHANNELS:
            self.op(kind, [x, y], (1, x.shape[1] + y.shape[1], *x.shape[2:]), axis=1)
        elif x.shape == y.shape and x is not y:
            if kind == "Gate":
                self.op("Mul", [x, self.op("Sigmoid", [y], y.shape)], x.shape)
            else:
                self.op("Add", [x, y], x.shape)

    def classifier(self, x: gs.Tensor) -> None:
        pooled = self.op("GlobalAveragePool", [x], (1, x.shape[1], 1, 1))
        flat = self.op("Flatten", [pooled], (1, x.shape[1]), axis=1)
        self.op("Gemm", [flat, self.weight(3, x.shape[1])], (1, 3), transB=1)

    def graph(self) -> gs.Graph:
        """The graph, with every unread tensor as an output."""
        outputs = [tensor for tensor in self.tensors if not tensor.outputs]
        return gs.Graph(self.nodes, [self.x], outputs, opset=18, name="random", ir_version=8).toposort()


@st.composite
def networks(draw: st.DrawFn) -> gs.Graph:
    """A convolution, then up to ten more steps, each on any tensor made so far; maybe a classifier at the end."""
    builder = Builder(draw(st.integers(0, 1 << 16)))
    builder.conv(builder.x)
    for _ in range(draw(st.integers(1, 10))):
        kind = draw(st.sampled_from(OPS + JOINS))
        recent = builder.tensors[-6:]
        x = draw(st.sampled_from(recent))
        if kind in JOINS:
            builder.join(kind, x, draw(st.sampled_from(recent)))
        else:
            builder.unary(kind, x)
    if draw(st.booleans()):
        builder.classifier(builder.tensors[-1])
    return builder.graph()


def run(graph: gs.Graph, feeds: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Every graph output, computed by ONNX Runtime node by node."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    model = gs.export_onnx(graph).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, feeds), strict=True))


def quantize_everything(graph: gs.Graph, feeds: dict[str, NDArray[np.float32]]) -> gs.Graph:
    """`graph` with a Q/DQ pair on every weight and every activation with readers, with the ranges of one run."""
    watched = graph.copy()
    watched.outputs = [t for t in watched.tensors().values() if isinstance(t, gs.Variable) and t.inputs]
    values = {**feeds, **run(watched, feeds)}
    quantized = graph.copy()
    for tensor in list(quantized.tensors().values()):
        readers = list(tensor.outputs)
        if isinstance(tensor, gs.Variable) and readers and not tensor.is_empty():
            amax = max(float(np.abs(values[tensor.name]).max()), 1e-3)
            dequantized = _pair(quantized, tensor, np.float32(amax / 127), np.int8(0))
        elif isinstance(tensor, gs.Constant) and any(
            r.op in ("Conv", "Gemm") and r.inputs[1] is tensor for r in readers
        ):
            amax = np.abs(tensor.values.reshape(len(tensor.values), -1)).max(axis=1).astype(np.float32)
            dequantized = _pair(quantized, tensor, amax / 127, np.zeros(len(amax), np.int8), axis=0)
        else:
            continue
        for reader in readers:
            reader.inputs = [dequantized if source is tensor else source for source in reader.inputs]
    return quantized.toposort()


def _pair(graph: gs.Graph, tensor: gs.Tensor, scale: object, zero: object, **attrs: int) -> gs.Variable:
    parameters = [gs.Constant(f"{tensor.name}_s", np.asarray(scale)), gs.Constant(f"{tensor.name}_z", np.asarray(zero))]
    integers = gs.Variable(f"{tensor.name}_q", np.int8, tensor.shape)
    floats = gs.Variable(f"{tensor.name}_dq", np.float32, tensor.shape)
    graph.nodes.append(gs.Node("QuantizeLinear", f"{tensor.name}_Q", attrs, [tensor, *parameters], [integers]))
    graph.nodes.append(gs.Node("DequantizeLinear", f"{tensor.name}_DQ", attrs, [integers, *parameters], [floats]))
    return floats
