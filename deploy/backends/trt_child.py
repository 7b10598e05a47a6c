"""The process that builds one TensorRT engine: `python -m deploy.backends.trt_child FOLDER`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.backends.base import BuildOptions
from deploy.backends.child import serve
from deploy.backends.trt_build import build_engine, strongly_typed
from deploy.cast import rest_to_fp16

ENGINE, LOG, TIMING = "model.engine", "build.log", "timing.cache"


def _build(request: Mapping[str, Any], folder: Path) -> None:
    options = BuildOptions(**request["options"])
    onnx = Path(request["onnx"])
    if options.precision == "int8" and options.rest == "fp16" and strongly_typed():
        onnx = folder / f"{onnx.stem}-fp16.onnx"
        rest_to_fp16(Path(request["onnx"]), onnx)
    with open(folder / LOG, "w", encoding="utf-8") as log:
        cache = folder / TIMING if request["timing_cache"] else None
        engine = build_engine(onnx, options, lambda line: print(line, file=log, flush=True), cache)
    (folder / ENGINE).write_bytes(engine)


if __name__ == "__main__":
    serve(_build)
