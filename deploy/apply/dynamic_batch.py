"""Give a network exported at batch 1 a batch of any size, for engines with an optimisation profile.

The exporter writes the batch into the sizes of Resize and into targets of Reshape. Resize takes it from its input
instead, and Reshape copies it (a target of 0, ONNX operator Reshape). Running both graphs shows
whether it is written elsewhere, too.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import onnxruntime
from numpy.typing import NDArray

from core.errors import UserError
from deploy.graph import onnx_graph

BATCH = "batch"  # name of the dimension
TRIED = 2  # images in one batch, whose results must equal their results one by one
TOLERANCE = 1e-3  # of the largest output: between two steps of INT8 a value may round either way
_SIZES = 3  # which input of Resize


def with_dynamic_batch(source: Path, target: Path) -> None:
    """Write `source`, whose inputs and outputs begin with batch 1, with a symbolic first dimension.

    Raises:
        UserError: inputs or outputs begin with something else. `require_same` checks that the network takes it.
    """
    graph = onnx_graph.load(source)
    interface = [*graph.inputs, *graph.outputs]
    if any(not tensor.shape or tensor.shape[0] != 1 for tensor in interface):
        found = ", ".join(f"{tensor.name} {tensor.shape}" for tensor in interface)
        raise UserError(f"{source} cannot get a dynamic batch", why=f"not all begin with batch 1: {found}")
    for node in list(graph.nodes):
        if node.op == "Reshape":
            _copy_batch(node)
        elif node.op == "Resize" and len(node.inputs) > _SIZES:
            _take_batch(graph, node)
    shapes = [[BATCH, *tensor.shape[1:]] for tensor in interface]
    for tensor in graph.tensors().values():
        if isinstance(tensor, gs.Variable):
            tensor.shape = None  # inferred shapes hold the old batch
    for tensor, shape in zip(interface, shapes, strict=True):
        tensor.shape = shape
    onnx_graph.save(graph.toposort(), target)


def _copy_batch(node: gs.Node) -> None:
    data, shape = node.inputs
    first_is_batch = bool(data.shape) and data.shape[0] == 1
    if isinstance(shape, gs.Constant) and shape.values[0] == 1 and first_is_batch and not node.attrs.get("allowzero"):
        values = np.concatenate([[0], shape.values[1:]]).astype(np.int64)
        node.inputs[1] = gs.Constant(f"{node.name}/shape_of_any_batch", values)


def _take_batch(graph: gs.Graph, node: gs.Node) -> None:
    """Resize keeps its sizes rather than getting scales: two engines may round the same scale to two sizes."""
    sizes = node.inputs[_SIZES]
    if not isinstance(sizes, gs.Constant) or "axes" in node.attrs or sizes.values[0] != 1:
        return
    name = f"{node.name}/{BATCH}"
    shape, batch, taken = (gs.Variable(f"{name}/{part}", np.int64) for part in ("shape", "first", "sizes"))
    first, end, rest = (
        gs.Constant(f"{name}/{part}", np.asarray(values, np.int64))
        for part, values in (("0", [0]), ("1", [1]), ("rest", sizes.values[1:]))
    )
    graph.nodes += [
        gs.Node("Shape", f"{name}/Shape", inputs=[node.inputs[0]], outputs=[shape]),
        gs.Node("Slice", f"{name}/Slice", inputs=[shape, first, end], outputs=[batch]),
        gs.Node("Concat", f"{name}/Concat", {"axis": 0}, inputs=[batch, rest], outputs=[taken]),
    ]
    node.inputs[_SIZES] = taken


def require_same(dynamic: Path, static: Path) -> None:
    """Run `dynamic` on a batch of random images and `static` on each of them.

    Raises:
        UserError: they differ, hence an image in a batch is not computed as it is alone.
    """
    fixed = _session(static)
    random = np.random.default_rng(0)
    feeds = {item.name: _random(random, item) for item in fixed.get_inputs()}
    alone = [fixed.run(None, {name: value[i : i + 1] for name, value in feeds.items()}) for i in range(TRIED)]
    expected = [np.concatenate(values) for values in zip(*alone, strict=True)]
    try:
        together = _session(dynamic).run(None, feeds)
    except Exception as error:  # ONNX Runtime has an exception type per cause, none of them public
        raise UserError(f"{static} cannot get a dynamic batch", why=str(error).strip().split("\n")[0]) from error
    worst = max(_difference(got, wanted) for got, wanted in zip(together, expected, strict=True))
    if not worst <= TOLERANCE:
        raise UserError(
            f"{static} cannot get a dynamic batch",
            why=f"an image in a batch of {TRIED} gives another result than alone (by {worst:.2g} of the largest)",
            fix="set deploy.tensorrt.batch to null",
        )


def _random(random: np.random.Generator, item: Any) -> NDArray[Any]:
    """Values of the input's type, integers where it takes pixels."""
    shape = (TRIED, *item.shape[1:])
    if "int8" in item.type:
        return random.integers(0, 128, shape).astype(np.uint8 if "uint8" in item.type else np.int8)
    return random.standard_normal(shape, dtype=np.float32)


def _session(path: Path) -> onnxruntime.InferenceSession:
    """Nothing fused: fusing may round elsewhere at another batch."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _difference(got: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    if got.shape != wanted.shape:
        return math.inf
    return float(np.abs(got - wanted).mean() / max(float(np.abs(wanted).max()), np.finfo(np.float32).tiny))
