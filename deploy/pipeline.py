"""From a trained Q/DQ ONNX to engine bundles: place, verify, build."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from core.artifacts import read_json, write_atomic, write_json
from core.config import Config, section_dict
from core.console import say
from core.errors import UserError
from core.paths import RunPaths
from core.stages import Stage
from core.stages import ensure as ensure_stage
from deploy.apply import place
from deploy.apply.dialects import Dialect, dialect_of
from deploy.apply.dynamic_batch import require_same, with_dynamic_batch
from deploy.apply.fp16 import to_fp16
from deploy.bundle.meaning import Kind, ensure_baked, mask_bundle_beside, meaning_of
from deploy.bundle.store import SCHEMA_VERSION, read_bundle
from deploy.checks.layer_snr import layer_snr
from deploy.checks.parity import parity, require_parity
from deploy.checks.verify import verify
from deploy.graph import onnx_graph
from deploy.hardware.machine import require_threads
from deploy.placement.decide import RULE_SET_VERSION
from deploy.placement.rule_sets import DEFAULT as TRAINED
from deploy.placement.rule_sets import known_rules, rules_of
from deploy.placement.rules.base import Rule
from deploy.plan.observe import read_images
from deploy.targets import get_backend, title_of
from deploy.targets.base import Backend, BuildOptions, Bundle, Precision
from deploy.tuning.scheme import read_scheme, tuned_dialect


@dataclass(frozen=True)
class BuildOutcome:
    """What became of one backend at one precision; `reason` says why when there is no bundle.

    `mask` is the engine of the same from image to mask, if the config wants it and it could be built; else
    `mask_reason` says why its build failed.
    """

    backend: str
    precision: Precision
    bundle: Bundle | None
    status: Literal["ok", "failed", "unavailable"]
    reason: str = ""
    mask: Bundle | None = None
    mask_reason: str = ""

    @property
    def failed(self) -> bool:
        """An engine that this machine should have built is not there."""
        return self.status == "failed" or bool(self.mask_reason)


def ensure(config: Config) -> list[BuildOutcome]:
    """Place and verify `qdq.onnx` of the run, then build what the config's backends can build here.

    A backend that is not available or fails to build is an outcome like any other: it never stops the rest.

    Raises:
        UserError: the QAT stage has not run, its graph cannot be placed, or `bench.threads` exceeds the CPUs.
    """
    require_threads(config.bench.threads, "bench.threads", "set it to the CPUs that the engine may use")
    paths = RunPaths(config.run)
    backends = [get_backend(name) for name in config.deploy.backends]
    ensure_placed(config, paths, [backend.dialect for backend in backends])
    wanted = [(backend, precision) for backend in backends for precision in backend.precisions]
    outcomes = [ensure_engine(config, paths, backend, precision) for backend, precision in wanted]
    return [_with_mask(config, paths, outcome) for outcome in outcomes]


def ensure_placed(config: Config, paths: RunPaths, dialects: Sequence[str]) -> None:
    """Make each dialect's Q/DQ graph and placement report from `qdq.onnx` if anything they depend on changed.

    The form that was trained is made first and has to compute what was trained. Another dialect rounds elsewhere, which
    a badly trained network magnifies: how far it is from training is reported, not judged.
    """
    if not paths.qdq_onnx.is_file():
        raise UserError(f"no {paths.qdq_onnx}", why="the QAT stage has not run", fix="run `make qat`")
    for dialect in dict.fromkeys((TRAINED, *dialects)):
        _ensure_form(config, paths, dialect)


def _ensure_form(config: Config, paths: RunPaths, dialect: str) -> None:
    form = form_of(config, dialect)
    stage = Stage(
        name=f"place {dialect}",
        outputs=(paths.placed(dialect), paths.placement(dialect)),
        inputs=(
            paths.qdq_onnx,
            paths.parity,
            paths.calibration,
            *config.placement.custom,
            *config.placement.tuned,
        ),
        params={
            "placement": section_dict(config.placement),
            "rule_set_version": RULE_SET_VERSION,
            "rules": [rule.name for rule in form.rules],
            "rewrites": [rewrite.__name__ for rewrite in form.dialect.rewrites],
            "unsigned": form.dialect.unsigned,
        },
    )
    ensure_stage(stage, paths.manifest, lambda: _place(config, paths, dialect, form))


@dataclass(frozen=True)
class Form:
    """Where pairs go and how they are written."""

    rules: tuple[Rule, ...]
    dialect: Dialect


def form_of(config: Config, dialect: str) -> Form:
    """The engine's own profile and dialect, or what autotune found in their place."""
    tuned = [path for path in config.placement.tuned if tuned_dialect(path) == dialect]
    if not tuned:
        return Form(rules_of(config.placement, dialect), dialect_of(dialect))
    scheme = read_scheme(tuned[-1])
    return Form(scheme.select(known_rules(config.placement)), scheme.dialect())


def _place(config: Config, paths: RunPaths, name: str, form: Form) -> None:
    options, dialect = config.placement, form.dialect
    placed = place.place(paths.qdq_onnx, form.rules, options.skip, options.weights, dialect, paths.calibration)
    for pattern in placed.unnamed:
        say(f"warning: place {name}: placement.skip: {pattern} names no node of the exported graph")
    target = paths.placed(name)
    onnx_graph.save(placed.graph, target)
    verify(target, placed.placement, dialect.unsigned)
    trained = name == TRAINED
    found = require_parity(target, paths.qdq_onnx, paths.parity) if trained else parity(target, paths.parity)
    layers = layer_snr(paths.qdq_onnx, target, read_images(paths.calibration))
    report = {**placed.to_json(), "parity": vars(found), "layers": [vars(layer) for layer in layers]}
    write_json(paths.placement(name), report)
    where = placed.placement
    say(f"place {name}: {len(where.by_tensor)} activations and {len(where.weights)} weights in INT8")
    say(f"place {name}: {found.agreement:.2%} of pixels as the trained model has them, SNR {found.snr_db:.1f} dB")
    if layers:
        worst = min(layers, key=lambda layer: layer.snr_db)
        say(f"place {name}: lowest SNR of a layer {worst.snr_db:.1f} dB at {worst.node}")


def ensure_engine(config: Config, paths: RunPaths, backend: Backend, precision: Precision) -> BuildOutcome:
    """Build one engine from the run's graph of that precision if it is missing or stale; failing is an outcome, too."""
    missing = backend.available(precision)
    if missing is not None:
        say(f"{title_of(backend.name)} {precision}: unavailable: {missing}")
        return BuildOutcome(backend.name, precision, None, "unavailable", str(missing))
    out = paths.bundle(backend.name, precision)
    try:
        source = _source(config, paths, backend, precision)
        bundle = _ensure_bundle(config, paths, backend, source, out, precision, "logits")
        return BuildOutcome(backend.name, precision, bundle, "ok")
    except Exception as error:  # a vendor's builder may raise anything; its row must say so and the others go on
        say(f"engine {out.name}: failed: {error}")
        return BuildOutcome(backend.name, precision, None, "failed", f"{type(error).__name__}: {error}")


def _with_mask(config: Config, paths: RunPaths, outcome: BuildOutcome) -> BuildOutcome:
    """The outcome with its image → mask engine, where there is an engine and the config wants the other."""
    backend, precision = get_backend(outcome.backend), outcome.precision
    if outcome.bundle is None or precision not in config.deploy.image_to_mask:
        return outcome
    out = mask_bundle_beside(outcome.bundle)
    try:
        source = ensure_baked(config, paths, _source(config, paths, backend, precision), backend.name)
        bundle = _ensure_bundle(config, paths, backend, source, out, precision, "mask")
    except Exception as error:  # as above: the engine of the network alone is there and can be measured
        say(f"engine {out.name}: failed: {error}")
        return replace(outcome, mask_reason=f"{type(error).__name__}: {error}")
    return replace(outcome, mask=bundle)


def _ensure_bundle(
    config: Config,
    paths: RunPaths,
    backend: Backend,
    source: Path,
    out: Path,
    precision: Precision,
    kind: Kind,
) -> Bundle:
    options = replace(
        build_options(config, backend, precision),
        meaning=meaning_of(config, paths, kind),
        placement=_summary(config, paths, backend.dialect) if precision == "int8" else {},
    )
    stage = Stage(
        name=f"engine {out.name}",
        outputs=(out / "manifest.json",),
        inputs=(source,),
        params={"options": vars(options), "built_with": built_with(backend, precision)},
    )
    ensure_stage(stage, paths.manifest, lambda: _build_bundle(backend, source, out, options))
    return read_bundle(out)


def build_options(config: Config, backend: Backend, precision: Precision) -> BuildOptions:
    """What the config says to the builder of a backend."""
    return BuildOptions(
        precision,
        threads=config.bench.threads,
        workspace_mib=config.deploy.workspace_mib,
        rest=config.deploy.rest,
        trt=section_dict(config.deploy.trt) if backend.name == "trt" else {},
    )


def _summary(config: Config, paths: RunPaths, dialect: str) -> dict[str, Any]:
    """Where the Q/DQ of an INT8 engine comes from, for its manifest; how much there is, the graph tells."""
    report = paths.placement(dialect)
    if not report.is_file():  # the graph was placed by hand
        return {"dialect": dialect}
    found = read_json(report)
    return {
        "dialect": dialect,
        "tuned": any(tuned_dialect(path) == dialect for path in config.placement.tuned),
        "rule_set_version": found["rule_set_version"],
        "skips": dict(Counter(skip["rule"] for skip in found["skips"]).most_common()),
    }


def _source(config: Config, paths: RunPaths, backend: Backend, precision: Precision) -> Path:
    """The graph that holds `precision`, and the batch that the engine is to take."""
    fixed = _of_precision(paths, precision, backend.dialect)
    if backend.name != "trt" or config.deploy.trt.batch is None:
        return fixed
    dynamic = fixed.with_name(f"{fixed.stem}-dynamic.onnx")

    def make() -> None:
        with write_atomic(dynamic) as made:
            with_dynamic_batch(fixed, made)
            require_same(made, fixed)

    stage = Stage(f"dynamic batch of {fixed.stem}", outputs=(dynamic,), inputs=(fixed,))
    ensure_stage(stage, paths.manifest, make)
    return dynamic


def _of_precision(paths: RunPaths, precision: Precision, dialect: str) -> Path:
    """Only FP16 needs a graph of its own, made here."""
    if precision == "fp16":
        stage = Stage("cast fp16", outputs=(paths.fp16_onnx,), inputs=(paths.fp32_onnx,))
        ensure_stage(stage, paths.manifest, lambda: to_fp16(paths.fp32_onnx, paths.fp16_onnx))
        return paths.fp16_onnx
    return paths.placed(dialect) if precision == "int8" else paths.fp32_onnx


def _build_bundle(backend: Backend, source: Path, out: Path, options: BuildOptions) -> None:
    backend.build(source, out, options)


def built_with(backend: Backend, precision: Precision) -> dict[str, Any]:
    """What an engine does not survive: with another library, device or form of manifest it is built again."""
    return {
        "backend": backend.name,
        "version": backend.version(),
        "device": backend.device(precision),
        "manifest": SCHEMA_VERSION,
    }
