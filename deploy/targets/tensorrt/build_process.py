"""The process that builds one TensorRT engine: `python -m deploy.targets.tensorrt.build_process FOLDER`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.bundle.types import BuildOptions
from deploy.targets.child import serve
from deploy.targets.tensorrt.build import build_engine

ENGINE, LOG, TIMING = "model.engine", "build.log", "timing.cache"


def _build(request: Mapping[str, Any], folder: Path) -> None:
    options = BuildOptions(**request["options"])
    onnx = Path(request["onnx"])
    with open(folder / LOG, "w", encoding="utf-8") as log:
        engine = build_engine(
            onnx,
            options,
            lambda line: print(line, file=log, flush=True),
            package=request["package"],
            strongly_typed=request["strongly_typed"],
            timing_cache=folder / TIMING if request["timing_cache"] else None,
        )
    (folder / ENGINE).write_bytes(engine)


if __name__ == "__main__":
    serve(_build)
