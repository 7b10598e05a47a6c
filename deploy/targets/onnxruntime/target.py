"""The Q/DQ graph that runs fastest in ONNX Runtime's CPU kernels (measured in docs/reference/placement.md)."""

from __future__ import annotations

from deploy.apply.passes import IS_FLOAT, Pass
from deploy.apply.target import Target
from deploy.rewrites.bn_as_conv import bn_as_conv
from deploy.rewrites.fold_bn_through_add import fold_bn_through_add

REWRITES = (
    Pass("fold_bn_through_add", fold_bn_through_add, requires=(IS_FLOAT,), ensures=(IS_FLOAT,)),
    Pass("bn_as_conv", bn_as_conv, requires=(IS_FLOAT,), ensures=(IS_FLOAT,)),
)
TARGET = Target("onnxruntime", "onnxruntime", REWRITES, unsigned="always")
