"""The Q/DQ graph that suits OpenVINO's CPU plugin best (measured in docs/reference/placement.md)."""

from __future__ import annotations

from deploy.apply.target import Target

TARGET = Target("openvino", "openvino", unsigned="non-negative", overflows=True, block=2)
