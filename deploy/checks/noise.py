"""How much output noise each quantized operator brings, found by switching its Q/DQ pairs on alone.

    x ─▶ Q ─▶ DQ ─┐
    x ────────────┴─▶ Where(switch of the operator) ─▶ operator          weights likewise

One graph with a switch for each operator runs once a picture and operator; nothing is built in between. Rounding errors
are hardly correlated, so that the powers of all operators add up, and one operator's is what its float form wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from core.console import track
from deploy.apply.insert import add_pair
from deploy.graph.debug_session import watching
from deploy.graph.onnx_graph import op_node
from deploy.graph.opgraph import WEIGHTED, commutes
from deploy.plan.plan import QuantizationPlan
from deploy.plan.scale import Scale, broadcast, quantize_array

_SWITCH = "quantized/"


@dataclass(frozen=True)
class Noise:
    """One operator.

    Attributes:
        power: of the output error that it alone brings, over the power of the output; summed over outputs.
        work: multiply-adds, plus one for each element that it writes.
    """

    node: str
    power: float
    work: float


def noise_by_node(graph: gs.Graph, plan: QuantizationPlan, images: Sequence[NDArray[Any]]) -> list[Noise]:
    """Every operator that `plan` quantizes, those first whose float form wins most output SNR for its work.

    Args:
        graph: float; it is not changed.
        plan: decided for a target on that graph.
        images: network inputs, (1, C, H, W) each.
    """
    switched, nodes = _with_switches(graph, plan)
    names = [output.name for output in graph.outputs]
    session = watching(gs.export_onnx(switched), names)
    feed = graph.inputs[0].name
    off = {f"{_SWITCH}{node}": np.array(False) for node in nodes}
    powers = dict.fromkeys(nodes, 0.0)
    for image in track(images, "noise by layer"):
        reference = session.run(names, {feed: image, **off})
        for node in nodes:
            found = session.run(names, {feed: image, **off, f"{_SWITCH}{node}": np.array(True)})
            powers[node] += sum(map(_relative_error, reference, found)) / len(images)
    works = {node.name: float(_work(node)) for node in graph.nodes if node.name in powers}
    items = [Noise(node, power, works[node]) for node, power in powers.items()]
    return sorted(items, key=lambda item: -item.power / item.work)


def _with_switches(graph: gs.Graph, plan: QuantizationPlan) -> tuple[gs.Graph, list[str]]:
    graph = graph.copy()
    tensors, nodes = graph.tensors(), {node.name: node for node in graph.nodes}
    switches: dict[str, gs.Variable] = {}
    owners = {use.node: _owner(nodes[use.node]).name for entry in plan.quantized.values() for use in entry.uses}
    for name, entry in plan.quantized.items():
        tensor = tensors[name]
        rounded = _rounded_weight(tensor, entry.as_scale) if entry.weight else add_pair(graph, tensor, entry.as_scale)
        for index, use in enumerate(entry.uses):
            owner = owners[use.node]
            switch = switches.setdefault(owner, gs.Variable(f"{_SWITCH}{owner}", np.bool_, ()))
            chosen = gs.Variable(f"{name}/chosen{index}", np.float32)
            graph.nodes.append(gs.Node("Where", f"{name}/choose{index}", {}, [switch, rounded, tensor], [chosen]))
            nodes[use.node].inputs[use.input] = chosen
    graph.inputs = [*graph.inputs, *switches.values()]
    return graph.toposort(), list(switches)


def _owner(node: gs.Node) -> gs.Node:
    """The operator that a pair serves: a copy in between goes to INT8 and to float with the one behind it."""
    while len(node.outputs[0].outputs) == 1 and commutes(op_node(node)):
        node = node.outputs[0].outputs[0]
    return node


def _rounded_weight(weight: gs.Constant, scale: Scale) -> gs.Constant:
    steps = broadcast(scale.values, scale.axis, weight.values.ndim)
    values = quantize_array(weight.values, scale).astype(np.float32) * steps
    return gs.Constant(f"{weight.name}/rounded", values.astype(np.float32))


def _relative_error(reference: NDArray[Any], found: NDArray[Any]) -> float:
    if reference.dtype.kind != "f":
        return float(np.mean(reference != found))
    signal = float(np.square(reference, dtype=np.float64).sum())
    return float(np.square(reference - found, dtype=np.float64).sum()) / max(signal, np.finfo(np.float64).tiny)


def _work(node: gs.Node) -> int:
    """Multiply-adds and elements written; 1 where a shape is unknown."""
    shape = node.outputs[0].shape
    if shape is None or not all(isinstance(side, int) for side in shape):
        return 1
    written = int(np.prod(shape))
    if node.op not in WEIGHTED:
        return max(written, 1)
    weight = node.inputs[1].shape
    if node.op == "ConvTranspose":
        return written + int(np.prod(node.inputs[0].shape)) * int(np.prod(weight[1:]))
    per_output = {"Conv": weight[1:], "Gemm": weight[1:] if node.attrs.get("transB") else weight[:1]}
    return written + written * int(np.prod(per_output.get(node.op, weight[-2:-1])))
