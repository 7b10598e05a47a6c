"""The inference engines that are built for: the folder `deploy/targets/<name>/` holds everything one of them needs."""

from __future__ import annotations

from typing import Literal, get_args

BackendName = Literal["openvino", "onnxruntime", "tensorrt", "tensorrt_rtx"]
BACKEND_NAMES: tuple[BackendName, ...] = get_args(BackendName)
