"""Build a TensorRT or TensorRT-RTX engine through Polygraphy, keeping the builder's verbose log.

One code path for TensorRT 8.6, 10, 11 and RTX: precision is in the graph, and only 8.6, which has no strong typing,
gets the INT8 and FP16 flags. Source: NVIDIA TensorRT documentation, "Strongly Typed Networks", and Polygraphy's API.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata, util
from pathlib import Path
from typing import Any

from core.config_trt import TrtConfig
from core.errors import UserError
from deploy.targets.base import BuildOptions
from deploy.targets.tensorrt.options import compatibility, profiles, refuse_foreign_options, set_targets

STRONGLY_TYPED_SINCE = 10
_VENDOR_PACKAGES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}  # by import name, the preferred one first


def vendor_package() -> str | None:
    """Import name of the TensorRT that is installed, full TensorRT first; None without either."""
    return next((name for name in _VENDOR_PACKAGES if util.find_spec(name) is not None), None)


def vendor_version() -> str:
    """`tensorrt 10.9.0` or `tensorrt_rtx 1.7.1.116`; raises `metadata.PackageNotFoundError` without either."""
    package = vendor_package() or next(iter(_VENDOR_PACKAGES))
    return f"{package} {metadata.version(package)}"


def vendor_title() -> str:
    """The installed product's name for people: "TensorRT-RTX", or "TensorRT", also without either."""
    return _VENDOR_PACKAGES[vendor_package() or next(iter(_VENDOR_PACKAGES))]


def strongly_typed() -> bool:
    """Whether the builder takes precision from the graph, as all but TensorRT 8.6 do, which takes it from flags."""
    if vendor_package() is None:
        return True
    package, version = vendor_version().split(" ")
    return package == "tensorrt_rtx" or int(version.split(".")[0]) >= STRONGLY_TYPED_SINCE


def _flags(options: BuildOptions) -> dict[str, bool]:
    half = options.rest if options.precision == "int8" else options.precision
    return {"int8": options.precision == "int8", "fp16": half == "fp16"}


def polygraphy_trt() -> Any:
    """`polygraphy.backend.trt` bound to the installed vendor package (Polygraphy reads the choice at import)."""
    if vendor_package() == "tensorrt_rtx":
        os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = "1"
    from polygraphy.backend import trt

    return trt


def build_engine(
    onnx: Path, options: BuildOptions, say: Callable[[str], None], timing_cache: Path | None = None
) -> bytes:
    """Serialized engine; every line of the builder's verbose log goes to `say` at once.

    `timing_cache` is read if it is there, and written with what was timed.

    The builder now and then crashes in native code after several engines: build each in a process of its own
    (`deploy.targets.tensorrt.build_process`).

    Raises:
        UserError: the parser or the builder refuses the graph (the log's errors are in the message), or the installed
            TensorRT lacks what the options ask for.
    """
    backend = polygraphy_trt()
    from polygraphy.exception import PolygraphyException
    from polygraphy.mod.trt_importer import lazy_import_trt

    trt = lazy_import_trt()
    typed = strongly_typed()
    flags = {} if typed else _flags(options)
    wanted = TrtConfig.model_validate(options.trt)
    refuse_foreign_options(wanted, rtx=vendor_package() == "tensorrt_rtx")
    known = timing_cache is not None and timing_cache.is_file()
    with _captured_log(say) as errors:
        try:
            network = backend.network_from_onnx_path(str(onnx), strongly_typed=typed)
            config = backend.CreateConfig(
                memory_pool_limits={trt.MemoryPoolType.WORKSPACE: options.workspace_mib << 20},
                profiling_verbosity=trt.ProfilingVerbosity.DETAILED,
                profiles=profiles(backend, network[1], wanted.batch),
                load_timing_cache=str(timing_cache) if known else None,
                **compatibility(trt, wanted),
                **flags,
            )
            targeted = backend.PostprocessConfig(
                config, lambda _builder, _network, made: set_targets(trt, made, wanted.compute_capabilities)
            )
            engine = backend.engine_bytes_from_network(
                network, config=targeted, save_timing_cache=str(timing_cache) if timing_cache else None
            )
        except PolygraphyException as error:
            raise UserError(f"TensorRT refuses {onnx}", why="; ".join(errors) or str(error)) from error
    return bytes(engine)


@contextmanager
def _captured_log(say: Callable[[str], None]) -> Iterator[list[str]]:
    """Everything TensorRT says while the block runs goes to `say`, not to the terminal; yields the errors in it."""
    from polygraphy.logger import G_LOGGER

    errors: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            for line in str(record.msg).split("\n"):
                say(line)
                if record.levelno >= logging.ERROR:
                    errors.append(line)

    handler = Collect(level=1)
    before = G_LOGGER.use_python_logging_system
    G_LOGGER.use_python_logging_system = True
    logger = G_LOGGER.python_logger
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(1)
    logger.propagate = False
    try:
        with G_LOGGER.verbosity(G_LOGGER.EXTRA_VERBOSE):
            yield errors
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
        G_LOGGER.use_python_logging_system = before
