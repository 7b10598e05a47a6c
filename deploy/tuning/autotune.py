"""The search on a run: from an engine's profile to the scheme that measured fastest, and the table that shows it."""

from __future__ import annotations

from pathlib import Path

from core.artifacts import write_json
from core.config import Config
from core.console import say
from core.errors import UnsupportedEnvironment, UserError
from core.paths import RunPaths
from deploy.apply import place
from deploy.apply.dialects import dialect_of
from deploy.hardware.cpu import cpu_flags, cpu_model
from deploy.placement.decide import RULE_SET_VERSION
from deploy.placement.rule_sets import known_rules, rules_of
from deploy.targets import get_backend, title_of
from deploy.targets.base import Backend
from deploy.tuning.choices import global_choices, regional_choices
from deploy.tuning.compare import Comparer, Source
from deploy.tuning.scheme import Scheme, scheme_of
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
    if not paths.qdq_onnx.is_file():
        raise UserError(f"no {paths.qdq_onnx}", why="the QAT stage has not run", fix="run `make qat`")
    known = known_rules(config.placement)
    source = Source(paths.qdq_onnx, paths.calibration, paths.parity, known, config.placement.skip)
    compare = Comparer(source, backend, config.bench, paths.dir / f"autotune-{backend_name}")
    start = scheme_of(rules_of(config.placement, backend.dialect), dialect_of(backend.dialect))
    best, trials = search(start, global_choices(start, known), compare)
    rules, dialect = best.select(known), best.dialect()
    placed = place.place(source.qdq, rules, source.skip, dialect=dialect, calibration=source.calibration)
    best, regional = search(best, regional_choices(best, placed.placement), compare)
    target = paths.tuned(backend_name)
    write_json(target, _report(backend, start, best, [*trials, *regional], compare))
    say(f"autotune: wrote {target}; use it with --set placement.tuned=[{target}]")
    return target


def _report(backend: Backend, start: Scheme, best: Scheme, trials: list[Trial], compare: Comparer) -> dict[str, object]:
    total = compare(start, best) if best != start else None
    return {
        "dialect": backend.dialect,
        "scheme": best.to_json(),
        "start": start.to_json(),
        "total": total if isinstance(total, str) or total is None else vars(total),
        "trials": [
            {"choice": trial.choice, "time": trial.time and vars(trial.time), "verdict": trial.verdict}
            for trial in trials
        ],
        "machine": {"cpu": cpu_model(), "flags": sorted(cpu_flags()), "backend": [backend.name, backend.version()]},
        "rule_set_version": RULE_SET_VERSION,
    }
