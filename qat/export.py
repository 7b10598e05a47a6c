"""Writes a network with fake quantizers to files: the float graph, its quantization plan, the portable Q/DQ graph."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from torch import fx

from deploy.apply.apply import apply
from deploy.apply.calibrate import complete
from deploy.apply.target import AS_PLANNED, PORTABLE, TargetConfig
from deploy.checks.write import write_verified
from deploy.graph import onnx_graph
from deploy.placement.planning import decide, record
from deploy.placement.rule_sets import select
from deploy.plan.plan import QuantizationPlan, write_plan
from qat.quantization.insert import PLACEMENT
from qat.quantization.quantizers import quantizers
from qat.tracing.export import float_graph, plan_of
from qat.tracing.inputs import Inputs


def export_onnx(model: fx.GraphModule, example: Inputs, target: Path, opset: int) -> None:
    """Write `model` in eval mode: float ONNX, or portable Q/DQ ONNX where it has fake quantizers.

    Args:
        model: traced; it is not changed.
        example: (1, C, H, W) float32, or several inputs; the file has these static shapes.
        target: written atomically, checked by `onnx.checker` with full shape inference.
        opset: ONNX operator set, 18 or later.

    Raises:
        UserError: a quantizer without a finite amax, an input that is not a tensor, or a network that torch cannot
            export.
    """
    if not quantizers(model):
        onnx_graph.save(float_graph(model, example, opset)[0], target)
        return
    write_verified(apply(*planned(model, example, opset), AS_PLANNED), PORTABLE, target)


def save_planned(
    model: fx.GraphModule,
    example: Inputs,
    opset: int,
    images: Iterable[NDArray[np.float32]],
    others: Iterable[TargetConfig],
    network: Path,
    plan: Path,
) -> None:
    """Write the float graph with the trained weights to `network` and its plan to `plan`.

    Args:
        images: network inputs, (1, C, H, W) each, for scales that only targets of `others` need.
    """
    graph, made = planned(model, example, opset)
    made = complete(made, graph, list(images), others)
    onnx_graph.save(graph, network)
    write_plan(made.of_graph(network), plan)


def planned(model: fx.GraphModule, example: Inputs, opset: int) -> tuple[gs.Graph, QuantizationPlan]:
    """The float graph of a network with fake quantizers, and its plan: the uses that were trained, with their scales.

    A network whose quantizers `qat.quantization.insert` did not place is placed by TensorRT's rules.
    """
    graph, plan = float_graph(model, example, opset, plan_of(model))
    view, where = onnx_graph.view(graph), model.meta.get(PLACEMENT)
    if where is None:
        return graph, decide(view, plan, select())[0]
    return graph, record(where, plan, view.constants)[0]
