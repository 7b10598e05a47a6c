"""NNCF on the OpenVINO model. Source: OpenVINO documentation, "Basic Quantization Flow"."""

from __future__ import annotations

from pathlib import Path

from benchmarks.baselines.base import Source


def quantize(source: Source, out: Path, *, preset: str) -> None:
    """Write an IR with FakeQuantize operations.

    Args:
        out: `.xml`; the weights go into a `.bin` beside it.
        preset: "performance" (symmetric) or "mixed" (activations asymmetric).
    """
    import nncf
    import openvino

    model = openvino.Core().read_model(source.fp32_onnx)
    quantized = nncf.quantize(
        model,
        nncf.Dataset(source.images),
        preset=nncf.QuantizationPreset(preset),
        subset_size=len(source.images),
    )
    openvino.save_model(quantized, out, compress_to_fp16=False)
