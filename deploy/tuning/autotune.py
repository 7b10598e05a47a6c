"""The search on a run: from an engine's rule set to the scheme that measured fastest, and the table that shows it."""

from __future__ import annotations

from pathlib import Path

from core.artifacts import write_json
from core.config import Config
from core.console import say
from core.errors import UnsupportedEnvironment
from core.paths import RunPaths
from deploy.hardware.cpu import cpu_flags, cpu_model
from deploy.pipeline import require_trained, target_config
from deploy.placement.rule_sets import known_rules
from deploy.targets import get_backend, title_of
from deploy.targets.base import Backend
from deploy.targets.tuned import Scheme, scheme_of
from deploy.tuning.choices import global_choices, regional_choices
from deploy.tuning.compare import Comparer, Source
from deploy.tuning.search import Trial, search


def autotune(config: Config, backend_name: str) -> Path:
    """Search for the fastest placement of a run's Q/DQ graph and write `tuned-<backend>.json`.

    Stop it at any time: what was built and timed is kept in the run's folder and not done again.

    Raises:
        UserError: the QAT stage has not run.
        UnsupportedEnvironment: the backend cannot build or run here.
    """
    paths, backend = RunPaths(config.run), get_backend(backend_name)
    missing = backend.available("int8") or backend.runnable("int8")
    if missing is not None:
        raise UnsupportedEnvironment(
            f"{title_of(backend_name)} engines cannot be timed here", why=missing.why, fix=missing.fix
        )
    require_trained(paths)
    known, base = known_rules(config.placement), target_config(config, backend.target)
    source = Source(paths.trained_onnx, paths.plan, paths.calibration, paths.parity, base, known)
    compare = Comparer(source, backend, config.bench, paths.dir / f"autotune-{backend_name}")
    start = scheme_of(base)
    best, trials = search(start, global_choices(start, known), compare)
    best, regional = search(best, regional_choices(best, source.applied(best).plan), compare)
    target = paths.tuned(backend_name)
    write_json(target, _report(backend, start, best, [*trials, *regional], compare))
    say(f"autotune: wrote {target}; use it with --set placement.tuned=[{target}]")
    return target


def _report(backend: Backend, start: Scheme, best: Scheme, trials: list[Trial], compare: Comparer) -> dict[str, object]:
    total = compare(start, best) if best != start else None
    return {
        "target": backend.target,
        "scheme": best.to_json(),
        "start": start.to_json(),
        "total": total if isinstance(total, str) or total is None else vars(total),
        "trials": [
            {"choice": trial.choice, "time": trial.time and vars(trial.time), "verdict": trial.verdict}
            for trial in trials
        ],
        "machine": {"cpu": cpu_model(), "flags": sorted(cpu_flags()), "backend": [backend.name, backend.version()]},
    }
