"""cuDNN's own INT8 convolutions beside FP16, on the distinct convolution shapes of a network: a study, not an engine.

python -m benchmarks.studies.cudnn_int8 runs/RUN/float.onnx       needs a GPU, torch with CUDA and nvidia-cudnn-frontend

Each shape is convolution, scale, bias and ReLU in one kernel, INT8 → INT8 or FP16 → FP16, in a CUDA graph: the gain of
fused INT8 convolutions, where an engine's are not fused. **Never run**, because no GPU was available: cudnn-frontend
1.32 took the calls that describe the graphs, and the next one needs a driver. Source: NVIDIA cudnn-frontend
documentation.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch

from core.cli.command import run_command
from core.cli.options import add_common_options
from core.cli.parser import Parser
from core.errors import UnsupportedEnvironment

REPEATS, ROUNDS = 20, 10
CHANNELS = 16  # an INT8 tensor core reads this many; fewer are padded, for both precisions alike


@dataclass(frozen=True)
class Shape:
    """One convolution: N×C×H×W image, O×C×h×w weights, the same padding, stride and dilation on both sides."""

    image: tuple[int, ...]
    weights: tuple[int, ...]
    padding: int
    stride: int
    dilation: int


def shapes_of(path: Path) -> Counter[Shape]:
    """The count of each shape of convolution without groups in a float ONNX graph."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(str(path))).graph
    sides = {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info)
    }
    weights = {value.name: list(value.dims) for value in graph.initializer}
    found: Counter[Shape] = Counter()
    for node in graph.node:
        options = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        if node.op_type == "Conv" and options.get("group", 1) == 1:
            first = [options.get(key, [default])[0] for key, default in (("pads", 0), ("strides", 1), ("dilations", 1))]
            found[Shape(_padded(sides[node.input[0]], (1,)), _padded(weights[node.input[1]], (0, 1)), *first)] += 1
    return found


def _padded(sides: list[int], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-(-side // CHANNELS) * CHANNELS if axis in axes else side for axis, side in enumerate(sides))


def fused(cudnn: Any, shape: Shape, int8: bool, handle: Any) -> tuple[Any, dict[str, Any]]:
    """The graph of one fused convolution and its tensors by name; the result is `y`."""
    kinds = cudnn.data_type
    kind, accumulator = (kinds.INT8, kinds.INT32) if int8 else (kinds.HALF, kinds.FLOAT)
    floats = {"intermediate_data_type": kinds.FLOAT, "compute_data_type": kinds.FLOAT}
    graph = cudnn.pygraph(io_data_type=kind, handle=handle, **floats)

    def tensor(name: str, sides: tuple[int, ...], data_type: Any) -> Any:
        _, channels, height, width = sides
        strides = [channels * height * width, 1, channels * width, channels]
        return graph.tensor(name=name, dim=list(sides), stride=strides, data_type=data_type)

    channel = (1, shape.weights[0], 1, 1)
    tensors = {"x": tensor("x", shape.image, kind), "w": tensor("w", shape.weights, kind)}
    tensors |= {name: tensor(name, channel, kinds.FLOAT) for name in ("scale", "bias")}
    steps = {key: [side] * 2 for key, side in vars(shape).items() if key in ("padding", "stride", "dilation")}
    sums = graph.conv_fprop(image=tensors["x"], weight=tensors["w"], compute_data_type=accumulator, **steps)
    sums.set_data_type(accumulator)
    scaled = graph.mul(a=sums, b=tensors["scale"])
    tensors["y"] = graph.relu(input=graph.add(a=scaled, b=tensors["bias"]))
    tensors["y"].set_output(True).set_data_type(kind)
    return graph, tensors


def time_us(cudnn: Any, handle: Any, shape: Shape, int8: bool) -> float:
    """Microseconds of one fused convolution: the fastest of `ROUNDS` launches of a CUDA graph of `REPEATS`."""
    graph, tensors = fused(cudnn, shape, int8, handle)
    graph.build([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
    kind = torch.int8 if int8 else torch.float16
    places = [
        (side + 2 * shape.padding - shape.dilation * (kernel - 1) - 1) // shape.stride + 1
        for side, kernel in zip(shape.image[2:], shape.weights[2:], strict=True)
    ]
    sizes = {"x": shape.image, "w": shape.weights, "y": (shape.image[0], shape.weights[0], *places)}
    memory = {
        tensors[name]: torch.zeros(sides, dtype=kind, device="cuda").to(memory_format=torch.channels_last)
        for name, sides in sizes.items()
    }
    for name in ("scale", "bias"):
        memory[tensors[name]] = torch.ones(1, shape.weights[0], 1, 1, device="cuda")
    workspace = torch.empty(max(graph.get_workspace_size(), 1), dtype=torch.uint8, device="cuda")
    stream, captured = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        cudnn.set_stream(handle=handle, stream=stream.cuda_stream)
        graph.execute(memory, workspace, handle=handle)  # cuDNN's set-up must not become part of the graph
        stream.synchronize()
        with torch.cuda.graph(captured, stream=stream):
            for _ in range(REPEATS):
                graph.execute(memory, workspace, handle=handle)
        best = float("inf")
        for _ in range(ROUNDS):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            captured.replay()
            end.record()
            end.synchronize()
            best = min(best, start.elapsed_time(end) * 1e3 / REPEATS)
    return best


def study(path: Path) -> None:
    """Print one line a shape; raises `UnsupportedEnvironment` without a GPU or cudnn-frontend."""
    try:
        import cudnn
    except ImportError as error:
        raise UnsupportedEnvironment("cudnn-frontend is not here", fix="pip install nvidia-cudnn-frontend") from error
    if not torch.cuda.is_available():
        raise UnsupportedEnvironment("torch sees no GPU", fix="run this on a machine with an NVIDIA GPU")
    handle = cudnn.create_handle()
    print(f"{torch.cuda.get_device_name()}, cuDNN {cudnn.backend_version()}: a study of convolutions, not of an engine")
    for shape, times in shapes_of(path).most_common():
        told = []
        for int8 in (False, True):
            try:
                told.append(f"{time_us(cudnn, handle, shape, int8):.1f} µs")
            except Exception as error:  # cuDNN has no kernel for some shapes; the others still count
                told.append(type(error).__name__)
        print(f"{times} × {shape.image} {shape.weights} stride {shape.stride}: fp16 {told[0]}, int8 {told[1]}")


def main() -> int:
    """Command line; returns the exit code."""
    return run_command(parser())


def parser(prog: str = "python -m benchmarks.studies.cudnn_int8") -> Parser:
    """The options of this command."""
    made = Parser(prog=prog, description=__doc__)
    made.add_argument("onnx", type=Path, help="float network")
    add_common_options(made)
    made.set_defaults(run=lambda given: study(given.onnx))
    return made


if __name__ == "__main__":
    sys.exit(main())
