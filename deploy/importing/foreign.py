"""Bring a Q/DQ graph of any toolkit to plain pairs: Q ─▶ DQ, constant parameters, nothing in between, float32 around.

    before   Constant ─▶ Cast ─▶ (scale)                     after   (scale)
             x ─▶ Q ─▶ Transpose ─▶ DQ ─▶ Conv                       x ─▶ Q ─▶ DQ ─▶ Transpose ─▶ Conv
             w (int8) ─▶ Transpose ─▶ DQ ─▶                          w (int8, transposed) ─▶ DQ ─▶

Nodes without such a form are refused by name: operators that quantize while they run, quantizers inside If and Loop,
blocked or computed scales, 4-bit and 16-bit integers, quantizers that were never calibrated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from core.errors import UserError
from deploy.graph.onnx_graph import FOLD_LIMIT_BYTES, op_node, quiet_runtime
from deploy.graph.opgraph import DEQUANTIZE, QUANTIZE, commutes
from deploy.graph.widen import widen
from deploy.importing.integer_ops import to_float_ops

PAIR = (QUANTIZE, DEQUANTIZE)
INTEGER_OPS = {"ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "QGemm", "QAttention"}
INTEGER_OPS |= {"FakeQuantize"}  # OpenVINO's, in older NNCF exports
STORED = {np.dtype(np.int8), np.dtype(np.uint8), np.dtype(np.int32)}
SHOWN = 5


def to_pairs(graph: gs.Graph) -> gs.Graph:
    """The same network with every quantizer as a plain Q/DQ pair; constants around Q/DQ are folded, the pairs stay.

    Raises:
        UserError: quantizers without such a form, by name.
    """
    graph = to_float_ops(widen(graph))
    graph = gs.import_onnx(onnx.shape_inference.infer_shapes(gs.export_onnx(graph)))
    with quiet_runtime():
        graph.fold_constants(size_threshold=FOLD_LIMIT_BYTES, should_exclude_node=lambda node: node.op in PAIR)
    graph.cleanup().toposort()
    for fault, why, fix in FAULTS:
        names = [node.name or node.outputs[0].name for node in graph.nodes if fault(node)]
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise UserError(f"{', '.join(names[:SHOWN])}{more}: cannot be re-placed", why=why, fix=fix)
    for node in [node for node in graph.nodes if node.op == DEQUANTIZE]:
        _lift(graph, node)
    graph.cleanup().toposort()
    return graph


def _lift(graph: gs.Graph, node: gs.Node) -> None:
    """Move operators between a Q and `node`, its DQ, after the DQ. Copies and MaxPool give the same values there."""
    moved: list[gs.Node] = []
    integers = node.inputs[0]
    while integers.inputs and _moves_integers(integers.inputs[0]):
        moved.append(integers.inputs[0])
        integers = integers.inputs[0].inputs[0]
    if not moved or not integers.inputs or integers.inputs[0].op != QUANTIZE:
        return
    result = node.outputs[0]
    base = node.name or result.name
    current = gs.Variable(f"{result.name}_lifted", dtype=np.float32, shape=integers.shape)
    node.inputs[0] = integers
    node.outputs = [current]
    for position, link in enumerate(reversed(moved)):
        is_last = position == len(moved) - 1
        shape = link.outputs[0].shape
        rest = _float_fill(link, node, f"{base}_fill_{position}") if link.op == "Pad" else link.inputs[1:]
        output = result if is_last else gs.Variable(f"{result.name}_lifted_{position}", dtype=np.float32, shape=shape)
        graph.nodes.append(
            gs.Node(link.op, f"{base}_{link.op}_{position}", dict(link.attrs), [current, *rest], [output])
        )
        current = output


def _moves_integers(node: gs.Node) -> bool:
    """Return True if a DQ gives the same values before `node` as after it; a constant fill is dequantized, too."""
    fill = node.inputs[2] if node.op == "Pad" and len(node.inputs) > 2 else None
    known = fill is None or fill.is_empty() or isinstance(fill, gs.Constant)
    return known if node.op == "Pad" else commutes(op_node(node))


def _float_fill(pad: gs.Node, dequantize: gs.Node, name: str) -> list[gs.Tensor]:
    """The inputs of an integer Pad after its data, with the fill dequantized; 0 without a fill."""
    scale = np.asarray(dequantize.inputs[1].values, np.float32).reshape(-1)[0]
    zero = np.asarray(dequantize.inputs[2].values if len(dequantize.inputs) > 2 else 0, np.float32).reshape(-1)[0]
    given = len(pad.inputs) > 2 and not pad.inputs[2].is_empty()
    fill = np.asarray(pad.inputs[2].values if given else 0, np.float32).reshape(-1)[0]
    value = gs.Constant(name, np.asarray((fill - zero) * scale, np.float32))
    return [pad.inputs[1], value, *pad.inputs[3:]]


def _is_integer_op(node: gs.Node) -> bool:
    return node.op.startswith("QLinear") or node.op in INTEGER_OPS


def _in_body(node: gs.Node) -> bool:
    bodies = (value for value in node.attrs.values() if isinstance(value, gs.Graph))
    return any(inner.op in PAIR or _in_body(inner) for body in bodies for inner in body.nodes)


def _computed(node: gs.Node) -> bool:
    return node.op in PAIR and not all(isinstance(tensor, gs.Constant) for tensor in node.inputs[1:])


def _blocked(node: gs.Node) -> bool:
    return node.op in PAIR and bool(node.attrs.get("block_size", 0))


def _uncalibrated(node: gs.Node) -> bool:
    if node.op not in PAIR:
        return False
    scale = np.asarray(node.inputs[1].values)
    return not bool((np.isfinite(scale) & (scale > 0)).all())


def _other_type(node: gs.Node) -> bool:
    if node.op not in PAIR:
        return False
    stored = [tensor.values.dtype for tensor in (node.inputs[0], *node.inputs[2:]) if isinstance(tensor, gs.Constant)]
    types = {dtype for dtype in stored if dtype.kind != "f"}
    odd_float = {dtype for dtype in stored if dtype.kind == "f" and (node.op == DEQUANTIZE)}
    return bool(types - STORED or odd_float) or node.attrs.get("output_dtype", 0) not in (0, 1, 2, 3, 10, 16)


def _misfit(node: gs.Node) -> bool:
    """Return True for scales along an axis that the tensor lacks or that has another length; unknown shapes pass."""
    shape = node.inputs[0].shape if node.op in PAIR else None
    scale = node.inputs[1].values if shape is not None else np.zeros(())
    if shape is None or scale.size == 1:
        return False
    axis = int(node.attrs.get("axis", 1))
    if not -len(shape) <= axis < len(shape):
        return True
    return isinstance(shape[axis], int) and shape[axis] != scale.size


Fault = Callable[[gs.Node], bool]
# The order matters: later steps rely on results of earlier ones.
FAULTS: Iterable[tuple[Fault, str, str]] = (
    (_is_integer_op, "integer operators that hold no constant scales", "export a statically quantized model"),
    (_in_body, "a quantizer inside If or Loop", "export the model without control flow"),
    (_computed, "its scale or zero-point is computed, not constant", "export a statically quantized model"),
    (_blocked, "blocked scales have no INT8 kernel", "quantize weights per channel or per tensor"),
    (_other_type, "its integers are neither int8 nor uint8", "quantize to 8-bit integers"),
    (_uncalibrated, "its scale is not finite and positive", "calibrate the model before exporting it"),
    (_misfit, "it has not one scale for each channel of its axis", "export the model again"),
)
