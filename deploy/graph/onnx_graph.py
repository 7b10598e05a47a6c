"""ONNX in: load, clean, and view as an op graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx_graphsurgeon as gs
import onnxruntime

from core.errors import UserError
from core.files.artifacts import write_atomic
from core.nearest import path_hint
from deploy.graph.canonical import canonical
from deploy.graph.opgraph import Node, OpGraph
from deploy.graph.opset import raise_opset

ERRORS_ONLY, WARNINGS = 3, 2  # ONNX Runtime's severities; the second is its default
MOST_BYTES = 2**31 - 1  # of one protobuf message, in which ONNX Runtime and the checker take a graph
FOLD_LIMIT_BYTES = 64 << 20  # constants larger than this are left to the engine


def load(path: Path) -> gs.Graph:
    """Load an ONNX file; raises `UserError` when there is none or it is not ONNX."""
    if not path.is_file():
        raise UserError(f"no ONNX file {path}", fix=path_hint(path, "give the path of an exported model"))
    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf raises its own DecodeError type, which differs between builds
        raise UserError(f"{path} cannot be read as ONNX", why=str(error)) from error
    if (size := sum(len(tensor.raw_data) for tensor in model.graph.initializer)) > MOST_BYTES:
        raise UserError(
            f"{path} is too large: {size / 1e9:.1f} GB of weights",
            why="a graph of more than 2 GB cannot be checked, run or built here",
            fix="export a smaller network, or split it",
        )
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    graph = gs.import_onnx(model)
    _resolve_constants(graph)
    return graph


def clean(graph: gs.Graph) -> gs.Graph:
    """Raise the opset, fold shapes and constants, drop identities and dead nodes, name what is unnamed.

    Must not see Q/DQ nodes: folding would compute the weights' Q/DQ away (see `deploy.importing.strip`).
    """
    model = onnx.shape_inference.infer_shapes(raise_opset(gs.export_onnx(graph)), data_prop=True)
    folded = gs.import_onnx(model)
    _resolve_constants(folded)
    _resolve_partial_shapes(folded)
    _fold_casts_like(folded)
    with quiet_runtime():
        folded.fold_constants(size_threshold=FOLD_LIMIT_BYTES).cleanup()
    _resolve_constants(folded)
    canonical(folded)
    sort_nodes(folded.cleanup())
    name_nodes(folded)
    return folded


@contextmanager
def quiet_runtime() -> Iterator[None]:
    """Within the context ONNX Runtime, with which graphsurgeon folds constants, does not warn of its own passes."""
    onnxruntime.set_default_logger_severity(ERRORS_ONLY)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(WARNINGS)


def save(graph: gs.Graph, target: Path) -> None:
    """Write the graph atomically, checked by `onnx.checker` with full shape inference."""
    with write_atomic(target) as temporary:
        write(graph, temporary)


def write(graph: gs.Graph, path: Path) -> None:
    """Write the graph to a file that nobody reads yet, checked by `onnx.checker` with full shape inference."""
    model = gs.export_onnx(graph)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def view(graph: gs.Graph) -> OpGraph:
    """The op graph of a float ONNX graph in topological order."""
    constants = {
        name: tuple(tensor.shape) for name, tensor in graph.tensors().items() if isinstance(tensor, gs.Constant)
    }
    return OpGraph(
        nodes=[op_node(node) for node in graph.nodes],
        inputs=[tensor.name for tensor in graph.inputs],
        outputs=[tensor.name for tensor in graph.outputs],
        constants=constants,
        integers=[name for name, tensor in graph.tensors().items() if _holds_integers(tensor)],
    )


def _holds_integers(tensor: gs.Tensor) -> bool:
    """Graphsurgeon gives types that NumPy lacks by ONNX number; those are floats of other sizes."""
    dtype = tensor.dtype
    return dtype is not None and not isinstance(dtype, int) and np.dtype(dtype).kind in "iub"


def op_node(node: gs.Node) -> Node:
    """One ONNX operator as placement rules see it."""
    attrs: dict[str, Any] = {"groups": node.attrs.get("group", 1), "transB": node.attrs.get("transB", 0)}
    if node.op == "Resize":
        attrs["mode"] = node.attrs.get("mode", "nearest")
    elif node.op == "Pad":
        attrs |= {"mode": node.attrs.get("mode", "constant"), "pad_value": _pad_value(node)}
    inputs = tuple("" if tensor.is_empty() else tensor.name for tensor in node.inputs)
    return Node(node.name, node.op, inputs, tuple(tensor.name for tensor in node.outputs), attrs)


def _pad_value(node: gs.Node) -> float | None:
    """The value that a constant Pad fills with; None if it is computed."""
    if len(node.inputs) < 3 or node.inputs[2].is_empty():
        return 0.0
    value = node.inputs[2]
    return float(value.values.reshape(())) if isinstance(value, gs.Constant) else None


def _resolve_constants(graph: gs.Graph) -> None:
    """Make constants of Constant nodes and read past Identities, so that scales are found where they are used."""
    for node in graph.nodes:
        if node.op == "Constant" and (values := _constant_values(node)) is not None:
            constant = node.outputs[0]
            node.outputs.clear()
            constant.to_constant(values)
        elif node.op == "Identity":
            _remove_identity(graph, node)
    graph.cleanup()


def _fold_casts_like(graph: gs.Graph) -> None:
    """Make constants of CastLike nodes on constants: only the type of the other input matters, and it is inferred."""
    for node in graph.nodes:
        if node.op != "CastLike" or not isinstance(node.inputs[0], gs.Constant) or node.inputs[1].dtype is None:
            continue
        values = node.inputs[0].values.astype(onnx.helper.tensor_dtype_to_np_dtype(_type_number(node.inputs[1])))
        result = node.outputs[0]
        node.outputs.clear()
        result.to_constant(values)


def _type_number(tensor: gs.Tensor) -> int:
    dtype = tensor.dtype
    return int(dtype if isinstance(dtype, int) else onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _constant_values(node: gs.Node) -> Any:
    """The array of a Constant node; None for a string or sparse one. Graphsurgeon would read lists as float64."""
    types = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    listed = next((np.asarray(node.attrs[key], kind) for key, kind in types.items() if key in node.attrs), None)
    return node.attrs["value"].values if "value" in node.attrs else listed


def _resolve_partial_shapes(graph: gs.Graph) -> None:
    """Make constants of Shape nodes with `start` or `end`, which graphsurgeon folds as if they had neither."""
    for node in graph.nodes:
        bounds = slice(node.attrs.get("start"), node.attrs.get("end"))
        if node.op == "Shape" and (bounds.start or bounds.stop is not None) and node.inputs[0].shape is not None:
            sides = node.inputs[0].shape[bounds]
            if all(isinstance(side, int) for side in sides):
                result = node.outputs[0]
                node.outputs.clear()
                result.to_constant(np.asarray(sides, np.int64))


def _remove_identity(graph: gs.Graph, node: gs.Node) -> None:
    """Unless it is what gives a graph output its name (see `become_output`)."""
    source, result = node.inputs[0], node.outputs[0]
    positions = [position for position, tensor in enumerate(graph.outputs) if tensor is result]
    if positions and (isinstance(source, gs.Constant) or source in [*graph.inputs, *graph.outputs]):
        return
    replace_uses(graph, result, source)
    node.outputs.clear()
    if positions:
        become_output(graph, positions[0], result)


def replace_uses(graph: gs.Graph, old: gs.Tensor, new: gs.Tensor) -> None:
    """Let everything that reads `old` read `new`, graph outputs included."""
    for reader in list(old.outputs):
        reader.inputs = [new if tensor is old else tensor for tensor in reader.inputs]
    graph.outputs = [new if tensor is old else tensor for tensor in graph.outputs]


def become_output(graph: gs.Graph, position: int, output: gs.Variable) -> bool:
    """Give the tensor that replaced `output` as graph output number `position` the output's name and type.

    A tensor that already has a name people know (a graph input, another output, a constant) keeps it and reaches the
    output through an Identity. Returns whether the tensor was renamed.
    """
    source = graph.outputs[position]
    others = [*graph.inputs, *graph.outputs[:position], *graph.outputs[position + 1 :]]
    if isinstance(source, gs.Constant) or any(source is tensor for tensor in others):
        graph.nodes.append(gs.Node("Identity", f"{output.name}_Identity", inputs=[source], outputs=[output]))
        graph.outputs[position] = output
        return False
    source.name, output.name = output.name, source.name
    source.dtype, source.shape = output.dtype, output.shape
    return True


def sort_nodes(graph: gs.Graph) -> None:
    """Order nodes by walking up from the outputs, in place.

    The order depends on the network alone, not on the order it came in: a graph that is placed twice is the same file.
    """
    if any(isinstance(value, gs.Graph) for node in graph.nodes for value in node.attrs.values()):
        graph.toposort()  # bodies of If and Loop read tensors that their node does not list
        return
    done: dict[int, gs.Node] = {}
    stack = [node for tensor in reversed(graph.outputs) for node in tensor.inputs]
    while stack:
        node = stack[-1]
        waiting = [above for tensor in node.inputs for above in tensor.inputs if id(above) not in done]
        if waiting:
            stack += reversed(waiting)
        else:
            done.setdefault(id(stack.pop()), node)
    graph.nodes = list(done.values())


def name_nodes(graph: gs.Graph) -> None:
    """Give every node a unique name, since rules and reports refer to nodes by name."""
    seen: set[str] = set()
    for node in graph.nodes:
        base = node.name or f"{node.op}_{node.outputs[0].name}"
        name, number = base, 1
        while name in seen:
            number += 1
            name = f"{base}_{number}"
        node.name = name
        seen.add(name)
