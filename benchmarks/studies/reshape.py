"""Exports a run's network again at other input shapes: an engine has static shapes, but weights and scales fit any
shape."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from core.config import Config
from core.files.paths import RunPaths
from deploy.apply.apply import apply
from deploy.apply.feed_pixels import fed
from deploy.checks.write import write_verified
from deploy.pipeline import target_config
from deploy.plan.plan import read_plan
from qat.export import export_onnx
from qat.models.checkpoint import load_state
from qat.pipeline import run as pipeline
from qat.tracing.export import float_graph


def export_at(
    config: Config, paths: RunPaths, shape: tuple[int, int, int], targets: Iterable[str], folder: Path
) -> dict[str, Path]:
    """Write the float and the placed ONNX of the run's trained weights for inputs of another shape.

    Reshaping the ONNX file would keep the sizes of Resize and pooling that the exporter folded into constants.

    Args:
        shape: batch, height and width in px.
        targets: names of targets whose Q/DQ graphs to write.
        folder: destination of the files.

    Returns:
        Graphs to build from, by "fp32" and each target.

    Raises:
        UserError: the network does not take this shape.
    """
    batch, height, width = shape
    data = config.data.model_copy(update={"height_px": height, "width_px": width})
    resized = config.model_copy(update={"data": data})
    example = torch.zeros(batch, 3, height, width)
    trained = pipeline.quantized_model(config, paths)
    load_state(trained, paths.qat_checkpoint)
    graph, _ = float_graph(trained, example, config.deploy.opset)
    plan = read_plan(paths.plan, paths.trained_onnx)  # scales do not depend on the size of the input
    written = {"fp32": folder / "float.onnx"}
    export_onnx(pipeline.float_model(resized, paths), example, written["fp32"], config.deploy.opset)
    for name in targets:
        goal = target_config(config, name)
        written[name] = folder / f"{name}.onnx"
        write_verified(apply(graph, plan, goal), goal.target, written[name])
        written[name] = fed(written[name])
    return written
