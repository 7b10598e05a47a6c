"""NVIDIA ModelOpt on the ONNX graph. Source: Model Optimizer documentation, "ONNX Quantization"."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.baselines.base import Source


def quantize(
    source: Source, out: Path, *, quantize_mode: str, calibration_method: str, high_precision_dtype: str
) -> None:
    """Write a graph with Q/DQ placed by TensorRT's rules.

    Args:
        out: `.onnx`.
        calibration_method: "max" or "entropy".
        high_precision_dtype: of operators that stay in float; ModelOpt's default, fp16, is for GPUs.
    """
    from modelopt.onnx.quantization import quantize as modelopt_quantize

    modelopt_quantize(
        str(source.fp32_onnx),
        quantize_mode=quantize_mode,
        calibration_data={source.input_name: np.concatenate(list(source.images))},
        calibration_method=calibration_method,
        calibration_eps=["cpu"],  # the default list requires CUDA and TensorRT
        high_precision_dtype=high_precision_dtype,
        output_path=str(out),
    )
