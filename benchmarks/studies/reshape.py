"""A run's network exported again at other input shapes: an engine's shapes are static, weights and scales are not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import torch

from core.config import Config
from core.paths import RunPaths
from deploy.apply import place
from deploy.checks.verify import verify
from deploy.graph import onnx_graph
from deploy.pipeline import form_of
from qat import pipeline
from qat.models.checkpoint import load_state
from qat.quantization.quantizers import quantizers
from qat.tracing.export import export_onnx

SHOWN_TO_OBSERVER = 2  # images for tensors that training gave no scale: here only the time counts


def export_at(
    config: Config, paths: RunPaths, shape: tuple[int, int, int], dialects: Iterable[str], folder: Path
) -> dict[str, Path]:
    """Write the float and the placed ONNX of the run's trained weights for inputs of another shape.

    Reshaping the ONNX would leave the sizes of Resize and pooling that the exporter has folded into constants.

    Args:
        shape: batch, height and width in px.
        dialects: keys of the placed graphs to write.
        folder: gets the files.

    Returns:
        "fp32" and each dialect, and the graph to build from.

    Raises:
        UserError: the network does not take this shape, or a quantizer has no range.
    """
    batch, height, width = shape
    data = config.data.model_copy(update={"height_px": height, "width_px": width})
    resized = config.model_copy(update={"data": data})
    example = torch.zeros(batch, 3, height, width)
    fp32, qdq, images = (folder / name for name in ("fp32.onnx", "qdq.onnx", "calibration.npz"))
    export_onnx(pipeline.float_model(resized, paths), example, fp32, config.deploy.opset)
    quantized = pipeline.quantized_model(resized, paths)
    load_state(quantized, paths.qat_checkpoint)
    for quantizer in quantizers(quantized).values():
        quantizer.origin = "checkpoint"  # ranges are loaded as weights are, without their history
    export_onnx(quantized, example, qdq, config.deploy.opset)
    _resize_calibration(paths.calibration, images, (width, height))
    written = {"fp32": fp32}
    for name in dialects:
        form, options = form_of(config, name), config.placement
        placed = place.place(qdq, form.rules, options.skip, options.weights, form.dialect, images)
        written[name] = folder / f"placed-{name}.onnx"
        onnx_graph.save(placed.graph, written[name])
        verify(written[name], placed.placement, form.dialect.unsigned)
    return written


def _resize_calibration(source: Path, target: Path, size: tuple[int, int]) -> None:
    with np.load(source) as stored:
        images = [cv2.resize(image, size) for image in stored["images"][:SHOWN_TO_OBSERVER]]
        np.savez(target, images=np.stack(images), mean=stored["mean"], std=stored["std"])
