"""ONNX Runtime on the CPU: FP32, and INT8 from a Q/DQ graph.

Source: ONNX Runtime documentation, "Quantize ONNX models" (QDQ format) and "Graph Optimizations".
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from deploy.bundle.pixels import Feeder
from deploy.bundle.store import check_bundle, write_bundle
from deploy.bundle.types import BuildOptions, Bundle, Precision
from deploy.targets.base import LayerInfo, LayerTime, Requests, Tensors, Triton, Unavailable
from deploy.targets.onnxruntime.engine import MODEL, ONNXRuntimeSession, open_session
from deploy.targets.onnxruntime.layers import layers_of
from deploy.targets.onnxruntime.profiler import profile
from deploy.targets.onnxruntime.requests import open_requests
from deploy.targets.packages import missing_package, package_version


class ONNXRuntimeBackend:
    """The engine file is the ONNX itself: sessions optimise it when they open it."""

    name = target = "onnxruntime"
    title = "ONNX Runtime"
    section = ""
    files: tuple[str, ...] = (MODEL,)
    fallback_in_graph = False
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    triton = Triton(
        "onnxruntime",
        "KIND_CPU",
        {MODEL: "model.onnx"},
        parameters=lambda manifest: {"intra_op_thread_count": str(manifest["threads"])},
    )

    def version(self) -> str:
        """Version of the onnxruntime package."""
        return package_version("onnxruntime")

    def device(self, precision: Precision) -> Mapping[str, Any]:
        """The same engine runs on every CPU."""
        return {"cpu": []}

    def available(self, precision: Precision) -> Unavailable | None:
        """None if the package is installed."""
        return missing_package("onnxruntime")

    def runnable(self, precision: Precision) -> Unavailable | None:
        """None if `precision` can be built: every CPU runs its engines."""
        return self.available(precision)

    def build(self, onnx: Path, out: Path, options: BuildOptions) -> Bundle:
        """Copy the graph and make sure that a session can be opened on it."""

        def fill(folder: Path) -> Mapping[str, Any]:
            shutil.copyfile(onnx, folder / MODEL)
            open_session(folder / MODEL, options.threads)
            return {"threads": options.threads}

        return write_bundle(out, self, options, onnx, fill)

    @contextmanager
    def open(self, bundle: Bundle) -> Iterator[ONNXRuntimeSession]:
        """Check the hash, then open a session."""
        check_bundle(bundle, self.version(), self.files)
        session = open_session(bundle.dir / MODEL, bundle.manifest["threads"])
        yield ONNXRuntimeSession(session, Feeder(bundle.manifest))

    def layers(self, bundle: Bundle) -> list[LayerInfo]:
        """Operators of the optimised graph."""
        check_bundle(bundle, self.version(), self.files)
        return layers_of(bundle)

    def profile(self, bundle: Bundle, feeds: Tensors, runs: int) -> Iterable[LayerTime]:
        """Kernel times of ONNX Runtime's own profile."""
        check_bundle(bundle, self.version(), self.files)
        return profile(bundle, feeds, runs)

    def requests(self, bundle: Bundle, threads: int) -> AbstractContextManager[Requests]:
        """One request for each thread."""
        check_bundle(bundle, self.version(), self.files)
        return open_requests(bundle, threads)


BACKEND = ONNXRuntimeBackend()
