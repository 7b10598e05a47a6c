"""The residual network with quantizers, whose placement is decided on a graph that is exported once a process."""

from __future__ import annotations

from functools import cache

import onnx_graphsurgeon as gs
import torch
from torch import fx

from deploy.placement.rules import RULES
from qat.quantization.insert import insert
from qat.quantization.quantizers import Quantizer
from qat.tracing import fx_graph
from qat.tracing.export import float_graph
from tests.nets.residual import residual_net


@cache
def residual_graph(side: int) -> gs.Graph:
    """The float ONNX graph of `residual_net()` for square images, as `insert` would export it; not to be changed."""
    return float_graph(traced_residual(side), torch.zeros(1, 3, side, side), 18)[0]


def traced_residual(side: int) -> fx.GraphModule:
    """`residual_net()`, traced."""
    return fx_graph.trace(residual_net(), torch.zeros(1, 3, side, side))


def quantized_residual(side: int, kind: type[Quantizer] = Quantizer) -> fx.GraphModule:
    """A new `residual_net()` with quantizers that have no ranges yet, where `RULES` put them."""
    model = traced_residual(side)
    insert(model, RULES, kind=kind, graph=residual_graph(side))
    return model
