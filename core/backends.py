"""Names of the supported backends: the folder `deploy/targets/<name>/` holds all code of one backend."""

from __future__ import annotations

from typing import Literal, get_args

BackendName = Literal["openvino", "onnxruntime", "tensorrt", "tensorrt_rtx"]
BACKEND_NAMES: tuple[BackendName, ...] = get_args(BackendName)
