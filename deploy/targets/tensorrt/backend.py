"""FP32, FP16 and INT8 engines of TensorRT; TensorRT-RTX uses the same code (`deploy.targets.tensorrt_rtx`)."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from core.config.tensorrt_options import TensorrtConfig
from core.errors import UserError
from deploy.bundle.advice import rebuild
from deploy.bundle.pixels import Feeder
from deploy.bundle.store import check_bundle, write_bundle
from deploy.bundle.types import BuildOptions, Bundle, Precision
from deploy.hardware.cuda_driver import Gpu, look
from deploy.targets.base import LayerInfo, Session, Tensors, Triton, Unavailable
from deploy.targets.child import run_in_child
from deploy.targets.packages import missing_package
from deploy.targets.tensorrt import build_process as trt_child
from deploy.targets.tensorrt.build_log import from_build_log
from deploy.targets.tensorrt.inspector import engine_information, from_information
from deploy.targets.tensorrt.options import refuse
from deploy.targets.tensorrt.session import trt_session
from deploy.targets.tensorrt.support import has_kernels, unsupported
from deploy.targets.tensorrt.timing_cache import borrowed, timing_cache_beside
from deploy.targets.tensorrt.vendor import Vendor, release_of

ENGINE, LOG = "model.engine", "build.log.gz"
# The property of the GPU that an engine is bound to, by `deploy.tensorrt.hardware_compatibility`.
_SAME = {"none": "name", "same_compute_capability": "compute_capability", "ampere_plus": ""}


class TRTBackend:
    """The engine file is TensorRT's plan; the builder's verbose log beside it holds the layer proof."""

    section = "tensorrt"
    files: tuple[str, ...] = (ENGINE, LOG)
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")

    def __init__(self, vendor: Vendor) -> None:
        """The backend of one of the two packages."""
        self.vendor = vendor
        self.name = self.target = vendor.package
        self.title = vendor.title
        self.triton = vendor.triton

    @property
    def fallback_in_graph(self) -> bool:
        """Not for TensorRT 8.6, which takes the fallback precision from a flag."""
        return self.vendor.strongly_typed()

    def version(self) -> str:
        """The package and its version."""
        return self.vendor.version()

    def device(self, precision: Precision) -> Mapping[str, Any]:
        """The GPU that TensorRT builds for, None without one; RTX builds for those its options name."""
        gpu = _gpu() if self.vendor.builds_on_its_gpu else None
        return {"gpu": gpu and {"name": gpu.name, "compute_capability": gpu.compute_capability}}

    def available(self, precision: Precision) -> Unavailable | None:
        """TensorRT builds only on a GPU that it supports; RTX builds anywhere."""
        missing = missing_package(self.vendor.package)
        if missing is None and self.vendor.builds_on_its_gpu and (blocked := unsupported(look(), self.vendor)):
            return Unavailable(f"{self.title} builds on the GPU it builds for: {blocked.why}", blocked.fix)
        return missing or missing_package("polygraphy")

    def runnable(self, precision: Precision) -> Unavailable | None:
        """Running needs a GPU and a driver that the installed package supports, and pycuda."""
        return self.available(precision) or unsupported(look(), self.vendor) or missing_package("pycuda")

    def build(self, onnx: Path, out: Path, options: BuildOptions) -> Bundle:
        """Build the engine in a process of its own; precision comes from the Q/DQ nodes of the graph.

        Raises:
            UserError: TensorRT refuses the graph or an option.
            ChildFailed: the builder crashed; the message names the signal.
        """
        self.vendor.refuse(TensorrtConfig.model_validate(options.tensorrt))

        def fill(folder: Path) -> Mapping[str, Any]:
            with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
                made = Path(scratch)
                cache = self._timing_cache(out, options)
                request = {
                    "package": self.vendor.package,
                    "strongly_typed": self.vendor.strongly_typed(),
                    "onnx": str(onnx.resolve()),
                    "options": vars(options),
                    "timing_cache": cache is not None,
                }
                with borrowed(cache, made / trt_child.TIMING) if cache else nullcontext():
                    run_in_child("deploy.targets.tensorrt.build_process", request, made)
                (made / trt_child.ENGINE).replace(folder / ENGINE)
                (folder / LOG).write_bytes(gzip.compress((made / trt_child.LOG).read_bytes(), mtime=0))
            return {}

        return write_bundle(out, self, options, onnx, fill)

    @contextmanager
    def open(self, bundle: Bundle) -> Iterator[Session]:
        """Check the hash before the engine is deserialized: it is native code."""
        check_bundle(bundle, self._loads(bundle), self.files)
        _require_gpu(bundle)
        wanted = _wanted(bundle)
        with trt_session(
            self.vendor.module(),
            self.vendor.logger(),
            (bundle.dir / ENGINE).read_bytes(),
            cuda_graph=wanted.cuda_graph,
            host_code=wanted.version_compatible,
            ready=Feeder(bundle.manifest).ready,
        ) as session:
            yield session

    def layers(self, bundle: Bundle) -> list[LayerInfo]:
        """The EngineInspector's list where the engine can be loaded, else the same list from the build log."""
        check_bundle(bundle, self._loads(bundle), self.files)
        told = self._inspected(bundle) if unsupported(look(), self.vendor) is None else None
        if told is not None:
            return from_information(told, str(bundle.dir / ENGINE))
        return from_build_log(gzip.decompress((bundle.dir / LOG).read_bytes()).decode().split("\n"))

    def profile(self, bundle: Bundle, feeds: Tensors, runs: int) -> None:
        """Not implemented: no GPU was available to try `IProfiler` on."""

    def requests(self, bundle: Bundle, threads: int) -> None:
        """Not implemented: no GPU was available to try several execution contexts on."""

    def _loads(self, bundle: Bundle) -> str:
        """The version that may have built `bundle`: an older one, too, if the engine is version-compatible."""
        built, own = bundle.manifest["version"], self.version()
        return built if _wanted(bundle).version_compatible and _not_newer(built, own) else own

    def _inspected(self, bundle: Bundle) -> str | None:
        engine, host_code = (bundle.dir / ENGINE).read_bytes(), _wanted(bundle).version_compatible
        return engine_information(self.vendor.module(), self.vendor.logger(), engine, host_code)

    def _timing_cache(self, out: Path, options: BuildOptions) -> Path | None:
        """TensorRT-RTX has none: using its remains of one makes the builder look for a GPU."""
        wanted = TensorrtConfig.model_validate(options.tensorrt).timing_cache
        if not wanted or not self.vendor.builds_on_its_gpu:
            return None
        gpu = _gpu()
        return timing_cache_beside(out, self.version(), gpu.name if gpu else "unknown")


def _wanted(bundle: Bundle) -> TensorrtConfig:
    return TensorrtConfig.model_validate(bundle.manifest["options"].get("tensorrt", {}))


def _not_newer(built: str, own: str) -> bool:
    (package, version), (other, installed) = built.split(" "), own.split(" ")
    return package == other and release_of(version) <= release_of(installed)


def _require_gpu(bundle: Bundle) -> None:
    """Raise `UserError` where the engine is for another GPU than the one here; TensorRT itself would only fail."""
    built, here = bundle.manifest["device"]["gpu"], _gpu()
    key = _SAME[_wanted(bundle).hardware_compatibility]
    if built and here and key and built[key] != getattr(here, key):
        raise UserError(
            f"{bundle.dir}: built on {built['name']} (compute capability {built['compute_capability']}), "
            f"have {here.name} ({here.compute_capability})",
            fix=f"{rebuild(bundle.dir)} here, or set deploy.tensorrt.hardware_compatibility before",
        )


def _gpu() -> Gpu | None:
    return next(iter(look().gpus), None)


TENSORRT = Vendor(
    package="tensorrt",
    title="TensorRT",
    builds_on_its_gpu=True,
    strongly_typed_since=10,
    has_kernels=has_kernels,
    refuse=refuse,
    triton=Triton("tensorrt", "KIND_GPU", {ENGINE: "model.plan"}, built_elsewhere=True),
)
BACKEND = TRTBackend(TENSORRT)
