"""The Q/DQ graph of TensorRT: signed int8, pairs where kernels fuse."""

from __future__ import annotations

from deploy.apply.target import Target

TARGET = Target("tensorrt", "tensorrt", mask_form="resize")
