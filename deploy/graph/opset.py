"""Raise a float ONNX model to the opset that the rules and the backends are written for."""

from __future__ import annotations

import onnx
from onnx import version_converter

from core.errors import UserError

LEAST_OPSET = 17
# Exceptions of ONNX's converter, which vary by operator.
FAILURES = (RuntimeError, ValueError, onnx.shape_inference.InferenceError, version_converter.ConvertError)


def raise_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` at `LEAST_OPSET`; `model` itself when its opset is that or newer.

    Raises:
        UserError: ONNX's converter cannot raise an operator to that opset.
    """
    version = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), LEAST_OPSET)
    if version >= LEAST_OPSET:
        return model
    try:
        return version_converter.convert_version(model, LEAST_OPSET)
    except FAILURES as error:
        raise UserError(
            f"opset {version} cannot be raised to {LEAST_OPSET}",
            why=str(error).strip().splitlines()[-1].rpartition("failed: ")[2],
            fix=f"export the model with opset {LEAST_OPSET} or later",
        ) from error
