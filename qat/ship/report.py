"""The report of a climb: first the decision, then its cost, the runners-up, and the frontier of all trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.config import Config, section_dict
from core.console import duration
from core.errors import GateMissed
from core.files.artifacts import write_json
from core.files.paths import RunPaths
from core.interval import Interval
from deploy.targets import title_of
from qat.ship.climb import Shipped
from qat.ship.trial import Trial

POINTS = "{:+.2f}".format
FILE = "ship.json"


def named(trial: Trial) -> str:
    """`OpenVINO INT8 (PTQ, mse)`."""
    return f"{title_of(trial.backend)} INT8 ({trial.title})"


def points_of(trial: Trial) -> str:
    """The change on the tuning split: `−0.02 mIoU [−0.08, +0.05]`."""
    return changed(trial.change.metric, trial.change.agreement, trial.metric)


def changed(metric: Interval | None, agreement: Interval, name: str) -> str:
    """The change of the metric; without labels, of the agreement with FP32."""
    return agreement.text(POINTS, " % agreement") if metric is None else metric.text(POINTS, f" {name}")


def summary(trial: Trial) -> str:
    """One engine in one line."""
    layers = f"{trial.int8}/{trial.convolutions} in INT8"
    return f"{named(trial)}: {trial.speedup.value:.1f}× FP32, {points_of(trial)}, {layers}"


def decision(found: Shipped) -> str:
    """The first sentence of every report."""
    if found.winner is not None:
        return f"Ship {summary(found.winner)}"
    nearest = f"; nearest: {summary(found.nearest)}" if found.nearest else ""
    return f"Nothing keeps the metric within {found.tolerance:g} points of FP32{nearest}"


def text(found: Shipped) -> str:
    """The lines that the command prints."""
    lines = [decision(found), ""]
    if found.winner is not None:
        lines.append(f"engine: {found.winner.bundle}")
    if found.val is not None and found.winner is not None:
        name, (base, own, change) = found.winner.metric, found.val
        metric = (
            ""
            if base.metric is None or own.metric is None
            else f"{name} {own.metric:.2f} %, FP32 {base.metric:.2f} %; "
        )
        lines.append(f"val: {metric}{changed(change.metric, change.agreement, name)}")
    lines += found_out(found)
    lines += [f"failed: {item.title} ({item.backend}): {item.why}" for item in found.refused]
    lines += ["", *_table(found)]
    return "\n".join(lines)


def found_out(found: Shipped) -> list[str]:
    """The cost of the search, and the runners-up."""
    judged = f"{found.images} tuning images in {found.groups} groups"
    lines = [f"found in {duration(found.seconds)}: {len(found.trials)} engines on {judged}"]
    if found.stopped:
        lines.append(f"stopped early: {found.stopped}")
    return [*lines, *(f"runner-up: {summary(trial)}" for trial in found.runners_up)]


def _table(found: Shipped) -> list[str]:
    rows = [("", "engine", "ms", "× FP32", "change on tuning", "agreement %", "KL per pixel")]
    for trial in sorted(found.trials, key=lambda trial: trial.latency_ms):
        mark = ("*" if found.on_front(trial) else "") + ("+" if trial.met(found.tolerance) else "")
        score = trial.score
        rows.append(
            (
                mark,
                named(trial),
                f"{trial.latency_ms:.2f}",
                f"{trial.speedup.value:.2f}",
                points_of(trial),
                f"{score.agreement:.2f}",
                f"{score.divergence:.2g}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*lines, "* on the frontier of time and accuracy, + within the tolerance"]


def to_json(found: Shipped, config: Config, command: str) -> dict[str, Any]:
    """The whole report as plain values."""
    return {
        "run": config.run,
        "command": command,
        "decision": decision(found),
        "found_out": found_out(found),
        "tolerance": found.tolerance,
        "winner": found.winner and found.winner.to_json(),
        "runners_up": [trial.to_json() for trial in found.runners_up],
        "val": found.val
        and {"fp32": found.val[0].to_json(), "int8": found.val[1].to_json(), "change": found.val[2].to_json()},
        "tuning": {"images": found.images, "groups": found.groups, "fp32": found.fp32.to_json()},
        "trials": [{**trial.to_json(), "on_front": found.on_front(trial)} for trial in found.trials],
        "refused": [vars(item) for item in found.refused],
        "seconds": found.seconds,
        "stopped": found.stopped,
        "config": section_dict(config),
    }


def write(found: Shipped, config: Config, command: str) -> Path:
    """Write ship.json among the run's results; returns its path."""
    target = RunPaths(config.run).results / FILE
    write_json(target, to_json(found, config, command))
    return target


def require_shipped(found: Shipped) -> None:
    """Raise `GateMissed` if no engine meets the tolerance, or if the winner misses it on val."""
    if found.winner is None:
        nearest = "" if found.nearest is None else f"nearest: {summary(found.nearest)}"
        why = "; ".join(filter(None, [found.stopped, nearest]))
        fix = "raise --budget" if found.stopped else "raise --tolerance, or train a network that quantizes better"
        raise GateMissed(f"no engine is within {found.tolerance:g} points of FP32", why, fix)
    change = found.val[2].metric or found.val[2].agreement if found.val else None
    if change is not None and change.high < -found.tolerance:
        raise GateMissed(
            f"{named(found.winner)} loses more on val than the tolerance",
            why=f"{change.text(POINTS)} points, the tolerance is {found.tolerance:g}: tuning images are unlike val",
            fix="raise data.tuning.share or images, or choose another data.tuning.fold",
        )
