"""The Q/DQ graph of TensorRT-RTX, which is TensorRT's."""

from __future__ import annotations

from dataclasses import replace

from deploy.targets.tensorrt.target import TARGET as TENSORRT

TARGET = replace(TENSORRT, name="tensorrt_rtx")
