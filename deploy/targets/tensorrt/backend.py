"""TensorRT and TensorRT-RTX: FP32, FP16 and INT8 engines. RTX engines are built without a GPU but need one to run."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from core.config_trt import TrtConfig
from core.errors import UserError
from deploy.bundle.store import check_bundle, write_bundle
from deploy.hardware.cuda_driver import Gpu, look
from deploy.targets.base import BuildOptions, Bundle, LayerInfo, Precision, Session, Unavailable
from deploy.targets.child import run_in_child
from deploy.targets.packages import missing_package
from deploy.targets.tensorrt import build_process as trt_child
from deploy.targets.tensorrt.build import polygraphy_trt, vendor_package, vendor_version
from deploy.targets.tensorrt.build_log import from_build_log
from deploy.targets.tensorrt.inspector import engine_information, from_information
from deploy.targets.tensorrt.session import trt_session
from deploy.targets.tensorrt.support import unsupported
from deploy.targets.tensorrt.timing_cache import borrowed, timing_cache_beside

ENGINE, LOG = "model.engine", "build.log.gz"
# What of the GPU an engine is bound to, by `deploy.trt.hardware_compatibility`.
_SAME = {"none": "name", "same_compute_capability": "compute_capability", "ampere_plus": ""}


class TRTBackend:
    """The engine file is TensorRT's plan; the builder's verbose log beside it holds the layer proof."""

    name = "trt"
    target = "tensorrt"
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")

    def version(self) -> str:
        """Which TensorRT, in which version."""
        return vendor_version()

    def device(self, precision: Precision) -> Mapping[str, Any]:
        """The GPU that TensorRT builds for, None without one; RTX builds for those its options name."""
        gpu = _gpu() if vendor_package() == "tensorrt" else None
        return {"gpu": gpu and {"name": gpu.name, "compute_capability": gpu.compute_capability}}

    def available(self, precision: Precision) -> Unavailable | None:
        """TensorRT builds only on a GPU that it supports; RTX builds anywhere."""
        package = vendor_package()
        if package is None:
            return Unavailable("neither tensorrt nor tensorrt_rtx is installed", "pip install tensorrt-rtx")
        if package == "tensorrt" and (blocked := unsupported(look())) is not None:
            return Unavailable(f"TensorRT builds on the GPU it builds for: {blocked.why}", blocked.fix)
        return missing_package("polygraphy")

    def runnable(self, precision: Precision) -> Unavailable | None:
        """Running needs a GPU and a driver that the installed TensorRT supports, and pycuda."""
        return self.available(precision) or unsupported(look()) or missing_package("pycuda")

    def build(self, onnx: Path, out: Path, options: BuildOptions) -> Bundle:
        """Build the engine in a process of its own; precision comes from the Q/DQ nodes of the graph.

        Raises:
            UserError: TensorRT refuses the graph or an option.
            ChildFailed: the builder crashed; the message names the signal.
        """

        def fill(folder: Path) -> Mapping[str, Any]:
            with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
                made = Path(scratch)
                cache = _timing_cache(out, options)
                request = {
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
        check_bundle(bundle, self._loads(bundle))
        _require_gpu(bundle)
        wanted = _wanted(bundle)
        polygraphy = polygraphy_trt()
        from polygraphy.mod.trt_importer import lazy_import_trt

        engine = (bundle.dir / ENGINE).read_bytes()
        with trt_session(
            lazy_import_trt(),
            polygraphy.get_trt_logger(),
            engine,
            cuda_graph=wanted.cuda_graph,
            host_code=wanted.version_compatible,
        ) as session:
            yield session

    def layers(self, bundle: Bundle) -> list[LayerInfo]:
        """What the EngineInspector says where the engine can be loaded, else the same list from the build log."""
        check_bundle(bundle, self._loads(bundle))
        told = _inspected(bundle) if unsupported(look()) is None else None
        if told is not None:
            return from_information(told, str(bundle.dir / ENGINE))
        return from_build_log(gzip.decompress((bundle.dir / LOG).read_bytes()).decode().split("\n"))

    def _loads(self, bundle: Bundle) -> str:
        """Which version may have built `bundle`: an older one, too, if it was told to stay compatible."""
        built, own = bundle.manifest["version"], self.version()
        return built if _wanted(bundle).version_compatible and _not_newer(built, own) else own


def _inspected(bundle: Bundle) -> str | None:
    polygraphy = polygraphy_trt()
    from polygraphy.mod.trt_importer import lazy_import_trt

    engine = (bundle.dir / ENGINE).read_bytes()
    host_code = _wanted(bundle).version_compatible
    return engine_information(lazy_import_trt(), polygraphy.get_trt_logger(), engine, host_code)


def _wanted(bundle: Bundle) -> TrtConfig:
    return TrtConfig.model_validate(bundle.manifest["options"].get("trt", {}))


def _not_newer(built: str, own: str) -> bool:
    (package, version), (other, installed) = built.split(" "), own.split(" ")
    return package == other and _release(version) <= _release(installed)


def _release(version: str) -> tuple[int, ...]:
    """(10, 9) of 10.9.0.34."""
    return tuple(int(number) for number in version.split(".")[:2])


def _require_gpu(bundle: Bundle) -> None:
    """Raise `UserError` where the engine is for another GPU than the one here; TensorRT itself would only fail."""
    built, here = bundle.manifest["device"]["gpu"], _gpu()
    key = _SAME[_wanted(bundle).hardware_compatibility]
    if built and here and key and built[key] != getattr(here, key):
        raise UserError(
            f"{bundle.dir}: built on {built['name']} (compute capability {built['compute_capability']}), "
            f"have {here.name} ({here.compute_capability})",
            fix="run `make engine`, or set deploy.trt.hardware_compatibility before",
        )


def _gpu() -> Gpu | None:
    return next(iter(look().gpus), None)


def _timing_cache(out: Path, options: BuildOptions) -> Path | None:
    """TensorRT-RTX has none: using its remains of one makes the builder look for a GPU."""
    if vendor_package() != "tensorrt" or not TrtConfig.model_validate(options.trt).timing_cache:
        return None
    gpu = _gpu()
    return timing_cache_beside(out, vendor_version(), gpu.name if gpu else "unknown")
