"""ONNX Runtime's static quantization. Source: ONNX Runtime documentation, "Quantize ONNX models"."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.baselines.base import Source


def quantize(
    source: Source,
    out: Path,
    *,
    activations: str,
    weights: str,
    per_channel: bool,
    method: str,
    percentile: float | None = None,
    reduce_range: bool = False,
) -> None:
    """Infer shapes and optimise as the documentation recommends, then write a graph with Q/DQ.

    Args:
        out: `.onnx`.
        activations, weights: names of `QuantType`.
        method: name of `CalibrationMethod`; `percentile` belongs to "Percentile".
        reduce_range: weights in 7 bits.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(source.fp32_onnx), str(prepared))
        quantize_static(
            str(prepared),
            str(out),
            _Reader(source),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType[activations],
            weight_type=QuantType[weights],
            per_channel=per_channel,
            reduce_range=reduce_range,
            calibrate_method=CalibrationMethod[method],
            extra_options={} if percentile is None else {"CalibPercentile": percentile},
        )


class _Reader:
    """A `CalibrationDataReader`: its base class checks by method, and `get_next` is the only one that it needs."""

    def __init__(self, source: Source) -> None:
        self._feeds: Iterator[dict[str, Any]] = iter([{source.input_name: image} for image in source.images])

    def get_next(self) -> dict[str, Any] | None:
        """Feeds of the next image; None after the last."""
        return next(self._feeds, None)
