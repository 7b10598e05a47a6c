"""NNCF on the ONNX graph. Source: NNCF documentation, "Post-Training Quantization", ONNX."""

from __future__ import annotations

from pathlib import Path

from benchmarks.baselines.base import Source


def quantize(source: Source, out: Path, *, preset: str) -> None:
    """Write a graph with Q/DQ.

    Args:
        out: `.onnx`.
        preset: "performance" (symmetric) or "mixed" (activations asymmetric).
    """
    import nncf
    import onnx

    name = source.input_name
    quantized = nncf.quantize(
        onnx.load(str(source.fp32_onnx)),
        nncf.Dataset(source.images, lambda image: {name: image}),
        preset=nncf.QuantizationPreset(preset),
        subset_size=len(source.images),
    )
    onnx.save(quantized, str(out))
