"""Build a TensorRT or TensorRT-RTX engine through Polygraphy, keeping the builder's verbose log.

One code path for TensorRT 8.6, 10, 11 and RTX: precision is in the graph, and only 8.6, which has no strong typing,
gets the INT8 and FP16 flags. Source: NVIDIA TensorRT documentation, "Strongly Typed Networks", and Polygraphy's API.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.config.tensorrt_options import TensorrtConfig
from core.errors import UserError
from deploy.bundle.types import BuildOptions
from deploy.targets.tensorrt.options import compatibility, profiles, set_targets


def _flags(options: BuildOptions) -> dict[str, bool]:
    half = options.fallback_precision if options.precision == "int8" else options.precision
    return {"int8": options.precision == "int8", "fp16": half == "fp16"}


def polygraphy_trt(package: str) -> Any:
    """`polygraphy.backend.trt` bound to `tensorrt` or `tensorrt_rtx`, permanently: Polygraphy reads the choice at
    import."""
    os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = "1" if package == "tensorrt_rtx" else "0"
    from polygraphy.backend import trt

    return trt


def build_engine(
    onnx: Path,
    options: BuildOptions,
    say: Callable[[str], None],
    *,
    package: str,
    strongly_typed: bool,
    timing_cache: Path | None = None,
) -> bytes:
    """Serialized engine; every line of the builder's verbose log goes to `say` at once.

    Args:
        package: `tensorrt` or `tensorrt_rtx`; one process builds with one of them.
        strongly_typed: the builder takes precision from the graph, else from flags.
        timing_cache: read if it exists, then written with all timings.

    The builder sometimes crashes in native code after several engines: build each in its own process
    (`deploy.targets.tensorrt.build_process`).

    Raises:
        UserError: the parser or the builder refuses the graph (the message holds the log's errors), or the installed
            TensorRT lacks a requested option.
    """
    backend = polygraphy_trt(package)
    from polygraphy.exception import PolygraphyException
    from polygraphy.mod.trt_importer import lazy_import_trt

    trt = lazy_import_trt()
    flags = {} if strongly_typed else _flags(options)
    wanted = TensorrtConfig.model_validate(options.tensorrt)
    known = timing_cache is not None and timing_cache.is_file()
    with _captured_log(say) as errors:
        try:
            network = backend.network_from_onnx_path(str(onnx), strongly_typed=strongly_typed)
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
    """Send TensorRT's log to `say` instead of the terminal while the block runs; yields the errors in it."""
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
