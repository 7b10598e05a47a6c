"""The pass that writes Q/DQ: one pair on every tensor that the plan quantizes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx_graphsurgeon as gs

from deploy.apply.passes import IS_DECIDED, IS_FLOAT, IS_INSERTED, Pass
from deploy.graph.onnx_graph import sort_nodes
from deploy.graph.opgraph import DEQUANTIZE, QUANTIZE
from deploy.plan.plan import QuantizationPlan
from deploy.plan.scale import Scale, quantize_array

StoredAs = Literal["int8", "float"]


def insertion(weights: StoredAs = "int8") -> Pass:
    """The pass; `weights` says how it stores weights: as int8 constants behind a DQ, or as float before a pair."""
    return Pass(
        "insert Q/DQ",
        lambda graph, plan: insert(graph, plan, weights),
        requires=(IS_FLOAT, IS_DECIDED),
        ensures=(IS_INSERTED,),
    )


def insert(graph: gs.Graph, plan: QuantizationPlan, weights: StoredAs = "int8") -> tuple[gs.Graph, QuantizationPlan]:
    """Put one Q/DQ pair on every quantized tensor of `plan` and rewire the uses that it names, in place.

    Activations become `x ─▶ Q ─▶ DQ`. Weights are stored as int8 constants behind a DQ, a quarter of the size; or, for
    engines that read the pair, as float constants before one.
    """
    tensors = graph.tensors()
    nodes = {node.name: node for node in graph.nodes}
    for name, entry in plan.quantized.items():
        tensor = tensors[name]
        stored = isinstance(tensor, gs.Constant) and weights == "int8"
        output = (_add_weight if stored else add_pair)(graph, tensor, entry.as_scale)
        for use in entry.uses:
            nodes[use.node].inputs[use.input] = output
    sort_nodes(graph.cleanup())
    return graph, plan


def add_pair(graph: gs.Graph, tensor: gs.Tensor, scale: Scale) -> gs.Variable:
    """Append `tensor ─▶ Q ─▶ DQ` to the graph; returns the result, which nobody reads yet."""
    base = tensor.name
    parameters = quantizer_parameters(base, scale)
    attrs = {} if scale.axis is None else {"axis": scale.axis}
    integers = gs.Variable(f"{base}_quantized", dtype=np.int8, shape=tensor.shape)
    floats = gs.Variable(f"{base}_dequantized", dtype=np.float32, shape=tensor.shape)
    graph.nodes.append(gs.Node(QUANTIZE, f"{base}_{QUANTIZE}", dict(attrs), [tensor, *parameters], [integers]))
    graph.nodes.append(gs.Node(DEQUANTIZE, f"{base}_{DEQUANTIZE}", attrs, [integers, *parameters], [floats]))
    return floats


def _add_weight(graph: gs.Graph, weight: gs.Constant, scale: Scale) -> gs.Variable:
    integers = gs.Constant(f"{weight.name}_quantized", quantize_array(weight.values, scale))
    floats = gs.Variable(f"{weight.name}_dequantized", dtype=np.float32, shape=weight.values.shape)
    graph.nodes.append(
        gs.Node(
            DEQUANTIZE,
            f"{weight.name}_{DEQUANTIZE}",
            attrs={} if scale.axis is None else {"axis": scale.axis},
            inputs=[integers, *quantizer_parameters(weight.name, scale)],
            outputs=[floats],
        )
    )
    return floats


def quantizer_parameters(base: str, scale: Scale) -> list[gs.Constant]:
    """The scale and zero-point of a Q or DQ as constants."""
    values = scale.values.astype(np.float32)
    return [
        gs.Constant(f"{base}_scale", values),
        gs.Constant(f"{base}_zero_point", np.zeros(values.shape, dtype=np.int8)),
    ]
