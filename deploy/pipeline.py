"""From a trained Q/DQ ONNX to engine bundles: place, verify, build."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core.artifacts import write_json
from core.config import Config, section_dict
from core.console import say
from core.errors import UserError
from core.paths import RunPaths
from core.stages import Stage
from core.stages import ensure as ensure_stage
from deploy import onnx_graph, place
from deploy.backends import get_backend
from deploy.backends.base import Backend, BuildOptions, Bundle, Precision
from deploy.bundle import read_bundle
from deploy.cast import to_fp16
from deploy.parity import require_parity
from deploy.placement import RULE_SET_VERSION
from deploy.profiles import rules_of
from deploy.verify import verify


@dataclass(frozen=True)
class BuildOutcome:
    """What became of one backend at one precision; `reason` says why when there is no bundle."""

    backend: str
    precision: Precision
    bundle: Bundle | None
    status: Literal["ok", "failed", "unavailable"]
    reason: str = ""


def ensure(config: Config) -> list[BuildOutcome]:
    """Place and verify `qdq.onnx` of the run, then build what the config's backends can build here.

    A backend that is not available or fails to build is an outcome like any other: it never stops the rest.
    """
    paths = RunPaths(config.run)
    ensure_placed(config, paths)
    outcomes = []
    for name in config.deploy.backends:
        backend = get_backend(name)
        outcomes += [ensure_engine(config, paths, backend, precision) for precision in backend.precisions]
    return outcomes


def ensure_placed(config: Config, paths: RunPaths) -> None:
    """Make `placed.onnx` and `placement.json` from `qdq.onnx` if anything they depend on changed."""
    if not paths.qdq_onnx.is_file():
        raise UserError(f"no {paths.qdq_onnx}", why="the QAT stage has not run", fix="run `make qat`")
    stage = Stage(
        name="place",
        outputs=(paths.placed_onnx, paths.placement),
        inputs=(paths.qdq_onnx, paths.parity, *config.placement.custom),
        params={"placement": section_dict(config.placement), "rule_set_version": RULE_SET_VERSION},
    )
    ensure_stage(stage, paths.manifest, lambda: _place(config, paths))


def _place(config: Config, paths: RunPaths) -> None:
    placed = place.place(paths.qdq_onnx, rules_of(config.placement), config.placement.skip, config.placement.weights)
    onnx_graph.save(placed.graph, paths.placed_onnx)
    verify(paths.placed_onnx, placed.placement)
    found = require_parity(paths.placed_onnx, paths.parity)
    scales = {"unused_scales": list(placed.unused), "widened_scales": list(placed.widened)}
    write_json(paths.placement, {**placed.placement.to_json(), **scales, "parity": vars(found)})
    say(f"place: {len(placed.placement.by_tensor)} activations and {len(placed.placement.weights)} weights in INT8")
    say(f"place: {found.agreement:.2%} of pixels as the trained model has them, SNR {found.snr_db:.1f} dB")


def ensure_engine(config: Config, paths: RunPaths, backend: Backend, precision: Precision) -> BuildOutcome:
    """Build one engine from the run's graph of that precision if it is missing or stale; failing is an outcome, too."""
    missing = backend.available(precision)
    if missing is not None:
        say(f"engine {backend.name}-{precision}: unavailable: {missing.why}")
        reason = f"{missing.why}; fix: {missing.fix}" if missing.fix else missing.why
        return BuildOutcome(backend.name, precision, None, "unavailable", reason)
    source = _source(paths, precision)
    out = paths.bundle(backend.name, precision)
    options = BuildOptions(precision, threads=config.bench.threads, workspace_mib=config.deploy.workspace_mib)
    stage = Stage(
        name=f"engine {backend.name}-{precision}",
        outputs=(out / "manifest.json",),
        inputs=(source,),
        params={"options": vars(options), "built_with": built_with(backend)},
    )
    try:
        ensure_stage(stage, paths.manifest, lambda: _build_bundle(backend, source, out, options))
    except Exception as error:  # a vendor's builder may raise anything; its row must say so and the others go on
        say(f"engine {backend.name}-{precision}: failed: {error}")
        return BuildOutcome(backend.name, precision, None, "failed", f"{type(error).__name__}: {error}")
    return BuildOutcome(backend.name, precision, read_bundle(out), "ok")


def _source(paths: RunPaths, precision: Precision) -> Path:
    """The graph that holds `precision`; only FP16 needs one of its own, made here."""
    if precision == "fp16":
        stage = Stage("cast fp16", outputs=(paths.fp16_onnx,), inputs=(paths.fp32_onnx,))
        ensure_stage(stage, paths.manifest, lambda: to_fp16(paths.fp32_onnx, paths.fp16_onnx))
        return paths.fp16_onnx
    return paths.placed_onnx if precision == "int8" else paths.fp32_onnx


def _build_bundle(backend: Backend, source: Path, out: Path, options: BuildOptions) -> None:
    backend.build(source, out, options)


def built_with(backend: Backend) -> dict[str, Any]:
    """Version of the vendor's library: an engine of another version is built again."""
    return {"backend": backend.name, "version": backend.version()}
