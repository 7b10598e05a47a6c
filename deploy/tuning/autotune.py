"""The search on a run: from an engine's rule set to the scheme of least cost, and the file that keeps it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from core.config import Config
from core.console import say
from core.errors import UnsupportedEnvironment
from core.files.artifacts import write_json
from core.files.paths import RunPaths
from deploy.hardware.cpu import cpu_flags, cpu_model
from deploy.pipeline import require_trained, target_config
from deploy.placement.rule_sets import known_rules
from deploy.targets import get_backend, title_of
from deploy.targets.tuned import scheme_of
from deploy.tuning.choices import global_choices, regional_choices
from deploy.tuning.compare import Comparer, Source
from deploy.tuning.objectives import Counted, Counters, Objective
from deploy.tuning.search import Trial, combined, search


def autotune(config: Config, backend_name: str, counted: Counted | None = None) -> Path:
    """Search for the cheapest placement of a run's Q/DQ graph and write `tuned-<backend>.json`.

    Stop it at any time: finished builds and measurements are kept in the run's folder and not repeated.

    Args:
        counted: a cost that needs no run; None for the engine's counters, and its time to confirm the sum.

    Raises:
        UserError: the QAT stage has not run.
        UnsupportedEnvironment: the backend cannot build here, or cannot run where a clock is wanted.
    """
    paths, backend = RunPaths(config.run), get_backend(backend_name)
    missing = backend.available("int8") or (None if counted else backend.runnable("int8"))
    if missing is not None:
        raise UnsupportedEnvironment(
            f"{title_of(backend_name)} engines cannot be {'built' if counted else 'timed'} here",
            why=missing.why,
            fix=missing.fix if counted else f"{missing.fix}; or count with --objective bytes",
        )
    require_trained(paths)
    known, base = known_rules(config.placement), target_config(config, backend.target)
    source = Source(paths.trained_onnx, paths.plan, paths.calibration, paths.parity, base, known)
    compare = Comparer(source, backend, config.bench, paths.dir / f"autotune-{backend_name}")
    objective: Objective = counted or Counters(backend, compare.feeds)
    start = scheme_of(base)
    choices = [*global_choices(start, known), *regional_choices(start, source.applied(start).plan)]
    trials = search(start, choices, partial(compare.change, objective))
    best = combined(start, trials, partial(compare.refused, start))
    total: dict[str, Any] = {}
    if best != start:
        found = compare.change(objective, start, best)
        total["change"] = found if isinstance(found, str) else vars(found)
        if objective.measured:
            time = compare.ratio(start, best)
            total["engine"] = vars(time)
            if time.high >= 1:
                say(f"autotune: the sum of all gains is not faster ({time.text('{:.4f}'.format)}): the start is kept")
                best = start
    target = paths.tuned(backend_name)
    machine = {"cpu": cpu_model(), "flags": sorted(cpu_flags()), "backend": [backend.name, backend.version()]}
    report: dict[str, Any] = {"target": backend.target, "objective": objective.name, "scheme": best.to_json()}
    report |= {"start": start.to_json(), "total": total, "trials": [_row(trial) for trial in trials]}
    write_json(target, {**report, "machine": machine})
    say(f"autotune: wrote {target}; use it with --set placement.tuned=[{target}]")
    return target


def _row(trial: Trial) -> dict[str, Any]:
    return {"choice": trial.choice.name, "change": trial.change and vars(trial.change), "verdict": trial.verdict}
