"""NVIDIA ModelOpt on the torch network. Source: Model Optimizer documentation, "PyTorch Quantization"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.baselines.base import Source


def quantize(source: Source, out: Path, *, config: str, opset: int) -> None:
    """Calibrate fake quantizers and export them as Q/DQ.

    Args:
        out: `.onnx`.
        config: name of a ModelOpt configuration.
        opset: of the export. Only the TorchScript exporter knows these quantizers (0.47).
    """
    import modelopt.torch.quantization as mtq
    import torch

    images = [torch.from_numpy(image) for image in source.images]

    def calibrate(network: Any) -> None:
        for image in images:
            network(image)

    with torch.no_grad():
        quantized = mtq.quantize(source.network(), getattr(mtq, config), calibrate)
        torch.onnx.export(
            quantized,
            (images[0],),
            str(out),
            dynamo=False,
            opset_version=opset,
            input_names=[source.input_name],
            output_names=["logits"],
        )
