"""A run's network exported again at other input shapes: an engine's shapes are static, weights and scales are not."""

from __future__ import annotations

from pathlib import Path

import torch

from core.config import Config
from core.paths import RunPaths
from deploy import onnx_graph, place
from deploy.backends.base import Precision
from deploy.profiles import rules_of
from deploy.verify import verify
from qat import pipeline
from qat.export import export_onnx
from qat.models.checkpoint import load_state


def export_at(config: Config, paths: RunPaths, shape: tuple[int, int, int], folder: Path) -> dict[Precision, Path]:
    """Write the float and the placed ONNX of the run's trained weights for inputs of another shape.

    Reshaping the ONNX would leave the sizes of Resize and pooling that the exporter has folded into constants.

    Args:
        shape: batch, height and width in px.
        folder: gets the files.

    Returns:
        The graph to build from, by precision.

    Raises:
        UserError: the network does not take this shape, or a quantizer has no range.
    """
    batch, height, width = shape
    data = config.data.model_copy(update={"height_px": height, "width_px": width})
    resized = config.model_copy(update={"data": data})
    example = torch.zeros(batch, 3, height, width)
    fp32, qdq, placed = (folder / name for name in ("fp32.onnx", "qdq.onnx", "placed.onnx"))
    export_onnx(pipeline.float_model(resized, paths), example, fp32, config.deploy.opset)
    quantized = pipeline.quantized_model(resized, paths)
    load_state(quantized, paths.qat_checkpoint)
    export_onnx(quantized, example, qdq, config.deploy.opset)
    where = place.place(qdq, rules_of(config.placement), config.placement.skip, config.placement.weights)
    onnx_graph.save(where.graph, placed)
    verify(placed, where.placement)
    return {"fp32": fp32, "int8": placed}
