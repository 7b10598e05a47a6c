"""Rewrites equivalent forms of different exporters to one form, so that rules handle one form only."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

_BIAS = 2  # index of the input of a weighted operator
_SPATIAL = [2, 3]


def canonical(graph: gs.Graph) -> None:
    """Rewrite `graph` in place; results do not change.

    - Biases of zeros are removed: the exporter adds one to every convolution without a bias.
    - ReduceMean over height and width becomes GlobalAveragePool, for which engines have kernels.
    """
    for node in graph.nodes:
        if node.op in ("Conv", "ConvTranspose") and len(node.inputs) > _BIAS:
            bias = node.inputs[_BIAS]
            if isinstance(bias, gs.Constant) and not bias.values.any():
                node.inputs = node.inputs[:_BIAS]
        elif node.op == "ReduceMean" and _is_global_average(node):
            node.op, node.inputs, node.attrs = "GlobalAveragePool", node.inputs[:1], {}
    graph.cleanup()


def _is_global_average(node: gs.Node) -> bool:
    source = node.inputs[0]
    given = node.inputs[1].values if len(node.inputs) > 1 and isinstance(node.inputs[1], gs.Constant) else None
    axes = given if given is not None else node.attrs.get("axes")
    if axes is None or source.shape is None or len(source.shape) != 4 or not node.attrs.get("keepdims", 1):
        return False
    return sorted(int(axis) % 4 for axis in np.asarray(axes).reshape(-1)) == _SPATIAL
