"""OpenVINO on the CPU: FP32, BF16 where the CPU computes it, and INT8 from a Q/DQ graph.

Source: OpenVINO documentation, "CPU Device" (inference precision hint, runtime model) and "Precision Control".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from deploy.bundle.pixels import Feeder
from deploy.bundle.store import check_bundle, write_bundle
from deploy.bundle.types import BuildOptions, Bundle, Precision
from deploy.hardware.cpu import BF16, UINT8, abilities, computes_bf16
from deploy.targets.base import LayerInfo, LayerTime, Requests, Tensors, Triton, Unavailable
from deploy.targets.openvino.engine import MODEL, WEIGHTS, OpenVINOSession, compile_model
from deploy.targets.openvino.ir_facts import facts_of
from deploy.targets.openvino.layers import layer_of
from deploy.targets.openvino.profiler import profile
from deploy.targets.openvino.requests import open_requests
from deploy.targets.packages import missing_package, package_version

_SERVED_PROPERTIES = ("PERFORMANCE_HINT", "INFERENCE_NUM_THREADS")


class OpenVINOBackend:
    """Engines are OpenVINO IR; the manifest holds the properties that they are compiled with."""

    name = target = "openvino"
    title = "OpenVINO"
    section = ""
    files: tuple[str, ...] = (MODEL, WEIGHTS)
    fallback_in_graph = False
    precisions: tuple[Precision, ...] = ("fp32", "bf16", "int8")
    triton = Triton(
        "openvino",
        "KIND_CPU",
        {MODEL: "model.xml", WEIGHTS: "model.bin"},
        parameters=lambda manifest: {key: str(manifest["properties"][key]) for key in _SERVED_PROPERTIES},
    )

    def version(self) -> str:
        """Version of the openvino package."""
        return package_version("openvino")

    def device(self, precision: Precision) -> Mapping[str, Any]:
        """BF16 arithmetic, and for INT8 the abilities that decide its number formats too."""
        used = {"bf16": {BF16}, "int8": {BF16, UINT8}}.get(precision, set())
        return {"cpu": sorted(used & abilities())}

    def available(self, precision: Precision) -> Unavailable | None:
        """BF16 is refused where it would be emulated: it would be timed as something it is not."""
        if precision == "bf16" and not computes_bf16():
            return Unavailable("this CPU has no BF16 arithmetic (avx512_bf16 or amx_bf16)", "use a newer CPU")
        return missing_package("openvino")

    def runnable(self, precision: Precision) -> Unavailable | None:
        """None if `precision` can be built: the same CPU runs its engines."""
        return self.available(precision)

    def build(self, onnx: Path, out: Path, options: BuildOptions) -> Bundle:
        """Convert to IR with weights as they are; INT8 graphs keep their Q/DQ, which the CPU plugin fuses.

        `onnx` may be IR already, as NNCF writes it.
        """
        import openvino

        def fill(folder: Path) -> Mapping[str, Any]:
            model = openvino.Core().read_model(onnx)
            _number_unnamed(model)
            openvino.save_model(model, folder / MODEL, compress_to_fp16=False)
            return {"properties": _properties(options)}

        facts = facts_of(openvino.Core().read_model(onnx)) if onnx.suffix == ".xml" else None
        return write_bundle(out, self, options, onnx, fill, facts)

    @contextmanager
    def open(self, bundle: Bundle) -> Iterator[OpenVINOSession]:
        """Check the hashes, compile, and hold one inference request."""
        yield OpenVINOSession(self._compile(bundle), Feeder(bundle.manifest))

    def layers(self, bundle: Bundle) -> list[LayerInfo]:
        """Layers of the compiled model."""
        model = self._compile(bundle).get_runtime_model()
        return [layer_of(operation) for operation in model.get_ordered_ops()]

    def profile(self, bundle: Bundle, feeds: Tensors, runs: int) -> Iterable[LayerTime]:
        """Times by OpenVINO's performance counters."""
        check_bundle(bundle, self.version(), self.files)
        return profile(bundle, feeds, runs)

    def requests(self, bundle: Bundle, threads: int) -> AbstractContextManager[Requests]:
        """As many requests as the plugin finds best for throughput."""
        check_bundle(bundle, self.version(), self.files)
        return open_requests(bundle, threads)

    def _compile(self, bundle: Bundle) -> Any:
        check_bundle(bundle, self.version(), self.files)
        return compile_model(bundle.dir / MODEL, bundle.manifest["properties"])


def _number_unnamed(model: Any) -> None:
    """OpenVINO numbers operators without a name by a count of its process: count anew, so that equal graphs are equal
    files."""
    for index, operation in enumerate(model.get_ordered_ops()):
        if operation.get_friendly_name() == operation.get_name():
            operation.set_friendly_name(f"{operation.get_type_name()}_{index}")


def _properties(options: BuildOptions) -> dict[str, Any]:
    """Latency first; what an INT8 graph leaves in float runs in BF16 where that is fast."""
    low = options.precision == "bf16" or (options.precision == "int8" and computes_bf16())
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": options.threads,
        "INFERENCE_PRECISION_HINT": "bf16" if low else "f32",
    }


BACKEND = OpenVINOBackend()
