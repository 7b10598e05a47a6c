"""From a float graph and its plan to engine bundles: apply, verify, build."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from core.cli.naming import by_make
from core.config import Config, section_dict
from core.console import detail, say
from core.errors import UserError
from core.files.artifacts import read_json, write_atomic, write_json
from core.files.paths import RunPaths
from core.stages import Stage, edited_since
from core.stages import ensure as ensure_stage
from core.versions import source_hash
from deploy.apply.dynamic_batch import require_same, with_dynamic_batch
from deploy.apply.feed_pixels import feed_pixels, reads_pixels, takes_pixels
from deploy.apply.fp16 import to_fp16
from deploy.apply.target import AS_PLANNED, TargetConfig
from deploy.bundle.meaning import MASK_SUFFIX, Kind, ensure_baked, mask_bundle_beside, meaning_of
from deploy.bundle.store import SCHEMA_VERSION, read_bundle
from deploy.bundle.types import BuildOptions, Bundle, Precision
from deploy.checks.layer_snr import layer_snr
from deploy.checks.parity import Parity, parity, require_parity
from deploy.checks.write import write_applied
from deploy.hardware.machine import require_threads
from deploy.placement.rule_sets import known_rules, rules_of
from deploy.plan.images import read_images
from deploy.targets import TARGETS, get_backend, target_for, title_of
from deploy.targets.base import Backend
from deploy.targets.tuned import read_scheme, tuned_target

TRAINED = "tensorrt"  # the target whose uses are those of training
AS_TRAINED = tuple(name for name, target in TARGETS.items() if replace(target, name=TRAINED) == TARGETS[TRAINED])
CODE = ("deploy.graph", "deploy.plan", "deploy.rewrites", "deploy.placement", "deploy.apply")  # makes the Q/DQ graphs


@dataclass(frozen=True)
class BuildOutcome:
    """The result of one backend at one precision; `reason` says why there is no bundle.

    `mask` is the same network's engine from image to mask, if the config sets it and it could be built; else
    `mask_reason` says why its build failed.
    """

    backend: str
    precision: Precision
    bundle: Bundle | None
    status: Literal["ok", "failed", "unavailable"]
    reason: str = ""
    mask: Bundle | None = None
    mask_reason: str = ""
    source: Path | None = None  # the graph that `bundle` was built from

    @property
    def failed(self) -> bool:
        """An engine that this machine should have built is not there."""
        return self.status == "failed" or bool(self.mask_reason)


def ensure(config: Config) -> list[BuildOutcome]:
    """Apply the run's plan for each backend, then build everything that the backends can build here.

    A backend that is not available, or whose graph or engine fails, is an outcome like any other: the others go on.

    Raises:
        UserError: the QAT stage has not run, or `bench.threads` exceeds the CPUs.
    """
    require_threads(config.bench.threads, "bench.threads", "set it to the CPUs that the engine may use")
    paths = RunPaths(config.run)
    require_trained(paths)
    ensure_portable(paths)
    backends = [get_backend(name) for name in config.deploy.backends]
    wanted = [(backend, precision) for backend in backends for precision in backend.precisions]
    outcomes = [ensure_engine(config, paths, backend, precision) for backend, precision in wanted]
    return [_with_mask(config, paths, outcome) for outcome in outcomes]


def stage_names(config: Config) -> list[str]:
    """The stages of `ensure` in their order, as far as this machine can build."""
    names, masks = [], []
    for backend in map(get_backend, config.deploy.backends):
        for precision in backend.precisions:
            if backend.available(precision) is None:
                engine = RunPaths(config.run).bundle(backend.name, precision).name
                names += [f"apply {backend.target}"] if precision == "int8" else []
                names += ["cast fp16"] if precision == "fp16" else []
                names += [f"engine {engine}"]
                masks += [f"engine {engine}{MASK_SUFFIX}"] if precision in config.image_to_mask else []
    return names + masks


def require_trained(paths: RunPaths) -> None:
    """Raise `UserError` unless the QAT stage has left a float graph and its plan."""
    for path in (paths.trained_onnx, paths.plan):
        if not path.is_file():
            raise UserError(
                f"no {path}", why="the QAT stage has not run", fix=f"run `{by_make('qat')}` with the same config"
            )


def ensure_portable(paths: RunPaths) -> None:
    """`qdq.onnx`, the uses of the run's plan as they are, made again if the plan changed.

    Raises:
        UserError: the plan is not of the run's float graph, or the graph is not the network that was trained.
    """
    stage = Stage(
        name="apply portable",
        outputs=(paths.qdq_onnx,),
        inputs=(paths.trained_onnx, paths.plan, paths.parity),
        params={"code": source_hash(*CODE, "deploy.checks")},
    )

    def make() -> None:
        def compare(path: Path) -> None:
            _compare(path, paths.qdq_onnx, paths, trained=True)

        write_applied(paths.trained_onnx, paths.plan, AS_PLANNED, paths.qdq_onnx, compare)

    ensure_stage(stage, paths.manifest, make)


def ensure_placed(config: Config, paths: RunPaths, target: str) -> Path:
    """The Q/DQ graph of a target and its placement report, made if anything that they depend on changed.

    Targets whose uses were trained must compute what was trained. Another one rounds elsewhere, which a badly
    trained network magnifies: its distance from training is reported, not judged.
    """
    goal = target_config(config, target)
    stage = Stage(
        name=f"apply {target}",
        outputs=(paths.placed(target), paths.placement(target)),
        inputs=(
            paths.trained_onnx,
            paths.plan,
            paths.qdq_onnx,
            paths.parity,
            paths.calibration,
            *config.placement.custom,
            *config.placement.tuned,
        ),
        params={
            "placement": section_dict(config.placement),
            "code": source_hash(*CODE, "deploy.checks"),
            "target": goal.target.to_json(),
            "rules": [rule.name for rule in goal.rules or ()],
        },
    )
    ensure_stage(stage, paths.manifest, lambda: _place(paths, goal))
    return paths.placed(target)


def target_config(config: Config, name: str) -> TargetConfig:
    """A target under the rules and restrictions of the run, or under the ones that autotune found for it."""
    options = config.placement
    target = target_for(name, config.deploy.fallback_precision)
    tuned = [path for path in options.tuned if tuned_target(path) == name]
    if not tuned:
        return TargetConfig(target, rules_of(options, target.rule_set), options.skip, options.weights)
    scheme = read_scheme(tuned[-1])
    return TargetConfig(scheme.target(target), scheme.select(known_rules(options)), options.skip, options.weights)


def _place(paths: RunPaths, goal: TargetConfig) -> None:
    name = goal.target.name
    placed, found = paths.placed(name), list[Parity]()

    def compare(path: Path) -> None:
        found.append(_compare(path, placed, paths, trained=name in AS_TRAINED))

    applied = write_applied(paths.trained_onnx, paths.plan, goal, placed, compare)
    layers = layer_snr(paths.qdq_onnx, placed, read_images(paths.calibration))
    report = {**applied.plan.to_json(), "parity": vars(found[0]), "layers": [vars(layer) for layer in layers]}
    write_json(paths.placement(name), report)
    detail(f"apply {name}: {len(applied.plan.activations)} activations, {len(applied.plan.weights)} weights in INT8")
    say(f"apply {name}: {found[0].agreement:.2%} of answers match the QAT model, SNR {found[0].snr_db:.1f} dB")
    if layers:
        worst = min(layers, key=lambda layer: layer.snr_db)
        detail(f"apply {name}: lowest SNR of a layer {worst.snr_db:.1f} dB at {worst.node}")


def _compare(path: Path, target: Path, paths: RunPaths, *, trained: bool) -> Parity:
    """The distance from training of the graph in `path`, which becomes `target`.

    A graph of the trained uses must be close, unless a user edited them.
    """
    if trained and not edited_since(paths.plan, paths.manifest):
        return require_parity(path, paths.parity, target.name)
    return parity(path, paths.parity)


def ensure_engine(config: Config, paths: RunPaths, backend: Backend, precision: Precision) -> BuildOutcome:
    """Build one engine from the run's graph of that precision if it is missing or stale; failing is an outcome, too."""
    out = paths.bundle(backend.name, precision)

    def build() -> tuple[Path, Bundle]:
        source = _source(config, paths, backend, precision)
        return source, _ensure_bundle(config, paths, backend, source, out, precision, "logits")

    return attempt(backend, precision, build)


def attempt(backend: Backend, precision: Precision, build: Callable[[], tuple[Path, Bundle]]) -> BuildOutcome:
    """The outcome of `build`, which makes a graph and its engine; that it fails or cannot run here is an outcome, too.

    A vendor's builder may raise anything; its row must say so, and the others go on.
    """
    missing = backend.available(precision)
    if missing is not None:
        detail(f"{title_of(backend.name)} {precision}: unavailable: {missing}")
        return BuildOutcome(backend.name, precision, None, "unavailable", str(missing))
    try:
        source, bundle = build()
    except Exception as error:
        say(f"engine {backend.name}-{precision}: failed: {error}")
        return BuildOutcome(backend.name, precision, None, "failed", f"{type(error).__name__}: {error}")
    return BuildOutcome(backend.name, precision, bundle, "ok", source=source)


def _with_mask(config: Config, paths: RunPaths, outcome: BuildOutcome) -> BuildOutcome:
    """The outcome with its image → mask engine, if there is an engine and the config sets the other."""
    backend, precision = get_backend(outcome.backend), outcome.precision
    if outcome.bundle is None or outcome.source is None or precision not in config.image_to_mask:
        return outcome
    out = mask_bundle_beside(outcome.bundle)
    try:
        source = ensure_baked(config, paths, outcome.source, TARGETS[backend.target].mask_form)
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
        meaning=meaning_of(config, paths, kind, pixels=takes_pixels(source)),
        placement=_summary(config, paths, backend.target) if precision == "int8" else {},
    )
    return ensure_bundle(backend, source, out, options, paths.manifest)


def ensure_bundle(backend: Backend, source: Path, out: Path, options: BuildOptions, manifest: Path) -> Bundle:
    """The engine of `source` in the folder `out`, built if it is missing or stale; `manifest` records stages."""
    stage = Stage(
        name=f"engine {out.name}",
        outputs=(out / "manifest.json",),
        inputs=(source,),
        params={"options": vars(options), "built_with": built_with(backend, options.precision)},
    )
    ensure_stage(stage, manifest, lambda: _build_bundle(backend, source, out, options))
    return read_bundle(out)


def build_options(config: Config, backend: Backend, precision: Precision) -> BuildOptions:
    """The options that the config sets for the builder of a backend."""
    return BuildOptions(
        precision,
        threads=config.bench.threads,
        workspace_mib=config.deploy.workspace_mib,
        fallback_precision=config.deploy.fallback_precision,
        tensorrt=section_dict(config.deploy.tensorrt) if backend.section == "tensorrt" else {},
    )


def _summary(config: Config, paths: RunPaths, target: str) -> dict[str, Any]:
    """The origin of an INT8 engine's Q/DQ, for its manifest; the amount is read from the graph."""
    report = paths.placement(target)
    if not report.is_file():  # the graph was placed by hand
        return {"target": target}
    tuned = any(tuned_target(path) == target for path in config.placement.tuned)
    return placement_summary(target, [skip["rule"] for skip in read_json(report)["skips"]], tuned)


def placement_summary(target: str, skipped: Iterable[str], tuned: bool = False) -> dict[str, Any]:
    """A manifest's entry on a placement; `skipped` are the rules that left nodes in float."""
    return {"target": target, "tuned": tuned, "skips": dict(Counter(skipped).most_common())}


def _source(config: Config, paths: RunPaths, backend: Backend, precision: Precision) -> Path:
    """The graph that holds `precision`, and the batch that the engine is to take."""
    fixed = _of_precision(config, paths, precision, backend.target)
    if backend.section != "tensorrt" or config.deploy.tensorrt.batch is None:
        return fixed
    dynamic = fixed.with_name(f"{fixed.stem}-dynamic.onnx")

    def make() -> None:
        with write_atomic(dynamic) as made:
            with_dynamic_batch(fixed, made)
            require_same(made, fixed)

    stage = Stage(f"dynamic batch of {fixed.stem}", outputs=(dynamic,), inputs=(fixed,))
    ensure_stage(stage, paths.manifest, make)
    return dynamic


def _of_precision(config: Config, paths: RunPaths, precision: Precision, target: str) -> Path:
    """The float network, its FP16 form, or the Q/DQ graph of a target."""
    if precision == "int8":
        return _ensure_fed(paths, ensure_placed(config, paths, target))
    if precision == "fp16":
        stage = Stage("cast fp16", outputs=(paths.fp16_onnx,), inputs=(paths.float_onnx,))
        ensure_stage(stage, paths.manifest, lambda: to_fp16(paths.float_onnx, paths.fp16_onnx))
        return paths.fp16_onnx
    return paths.float_onnx


def _ensure_fed(paths: RunPaths, placed: Path) -> Path:
    """The Q/DQ graph that takes pixels; `placed` itself where its first convolution does not read any."""
    if not reads_pixels(placed):
        return placed
    fed = placed.with_name(f"{placed.stem}-pixels.onnx")
    stage = Stage(
        f"feed pixels to {placed.stem}",
        outputs=(fed,),
        inputs=(placed,),
        params={"code": source_hash("deploy.apply.feed_pixels")},
    )
    ensure_stage(stage, paths.manifest, lambda: feed_pixels(placed, fed))
    return fed


def _build_bundle(backend: Backend, source: Path, out: Path, options: BuildOptions) -> None:
    backend.build(source, out, options)


def built_with(backend: Backend, precision: Precision) -> dict[str, Any]:
    """The library, device and form of manifest of an engine; if one of them changes, it is built again."""
    return {
        "backend": backend.name,
        "version": backend.version(),
        "device": backend.device(precision),
        "manifest": SCHEMA_VERSION,
    }
