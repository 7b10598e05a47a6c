"""NNCF on the OpenVINO model. Source: OpenVINO documentation, "Basic Quantization Flow"."""

from __future__ import annotations

from pathlib import Path

from benchmarks.baselines.base import Source


def quantize(source: Source, out: Path, *, preset: str, overflow_fix: str | None = None) -> None:
    """Write an IR with FakeQuantize operations.

    Args:
        out: `.xml`; the weights go into a `.bin` beside it.
        preset: "performance" (symmetric) or "mixed" (activations asymmetric).
        overflow_fix: "enable": weights in half their range; None: NNCF's default.
    """
    import nncf
    import openvino
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

    model = openvino.Core().read_model(source.fp32_onnx)
    quantized = nncf.quantize(
        model,
        nncf.Dataset(source.images),
        preset=nncf.QuantizationPreset(preset),
        subset_size=len(source.images),
        advanced_parameters=AdvancedQuantizationParameters(overflow_fix=overflow_fix and OverflowFix(overflow_fix)),
    )
    openvino.save_model(quantized, out, compress_to_fp16=False)
