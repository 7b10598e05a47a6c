"""A Q/DQ graph of any toolkit as a float graph and the plan that quantized it."""

from __future__ import annotations

from pathlib import Path

import onnx_graphsurgeon as gs

from deploy.graph import onnx_graph
from deploy.importing.foreign import to_pairs
from deploy.importing.strip import strip
from deploy.importing.weight_layout import carry_to_folded
from deploy.plan.plan import QuantizationPlan
from deploy.rewrites.fold_bn import fold_bn

ORIGIN = "imported"


def import_plan(source: Path) -> tuple[gs.Graph, QuantizationPlan]:
    """The clean float graph of an ONNX file, BatchNorm folded, and the scales of the Q/DQ pairs that it had.

    A float file gives a plan without tensors.

    Raises:
        UserError: no such file, or pairs without a plain form (see `deploy.importing.foreign`).
    """
    return import_graph(onnx_graph.load(source))


def import_graph(graph: gs.Graph) -> tuple[gs.Graph, QuantizationPlan]:
    """`import_plan` of a loaded graph, which it changes.

    Raises:
        UserError: pairs without a plain form (see `deploy.importing.foreign`).
    """
    graph = to_pairs(graph)
    scales = carry_to_folded(graph, strip(graph))
    return fold_bn(onnx_graph.clean(graph), QuantizationPlan().with_scales(scales, ORIGIN))
