"""Findings as rows of bar charts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from qat.sensitivity.report.charts import Bar
from qat.sensitivity.report.results import Findings
from qat.sensitivity.types import DAMAGE_TITLES, SCORE_TITLES, Measured

SHOWN = 40  # rows of a chart
SCREEN_TITLES = {
    "snr_db": "signal-to-noise ratio of the output, dB (low is harmful)",
    "cosine": "cosine of the outputs (far from 1 is harmful)",
    "kl": "KL divergence of the outputs (high is harmful)",
    "taylor": "first-order change of the loss (high is harmful)",
}
EVERYTHING = "everything in INT8"


@dataclass(frozen=True)
class Chart:
    """Rows, what their numbers are, and further numbers that the axis has room for."""

    title: str
    rows: list[Bar]
    scale: tuple[float, ...] = ()


def unit_damage(found: Findings) -> str:
    """What a single unit's exact number is; also for the kind `loss` it is a difference."""
    return DAMAGE_TITLES["loss_increase" if found.tolerance_kind == "loss" else found.tolerance_kind]


def main_score(found: Findings) -> str:
    """The score by which the screen ranked; empty without one."""
    return next((name for name in SCORE_TITLES if any(name in score.scores for score in found.ranking.units)), "")


def exact(found: Findings) -> Chart:
    """Units that were measured exactly, the most harmful first."""
    measured = [(score.unit, score.exact) for score in found.ranking.units if score.exact is not None]
    measured.sort(key=lambda item: -math.inf if math.isnan(item[1].value) else -item[1].value)
    return Chart(unit_damage(found), [_unit(found, name, value) for name, value in measured[:SHOWN]])


def screens(found: Findings) -> list[Chart]:
    """For every score of the screen the worst units, in the order of the ranking."""
    shown = found.ranking.units[:SHOWN]
    names = dict.fromkeys(name for score in shown for name in score.scores)
    return [
        Chart(
            SCREEN_TITLES.get(name, name),
            [_unit(found, score.unit, score.scores[name]) for score in shown if name in score.scores],
        )
        for name in sorted(names, key=[*SCREEN_TITLES, *names].index)
    ]


def search_path(found: Findings) -> Chart:
    """Damage after each step of the search; empty if there was none."""
    chosen, rows = found.chosen, list[Bar]()
    if chosen.steps and chosen.start is not None:
        rows.append(_measured(EVERYTHING, chosen.start, "int8"))
    for place, step in enumerate(chosen.steps, start=1):
        name, became = found.labels.get(step.unit, step.unit), "float" if step.action == "revert" else "INT8 again"
        kind = "float" if step.action == "revert" else "int8"
        rows.append(_measured(f"{place}. {name} → {became}", step.damage, kind))
    return Chart(DAMAGE_TITLES[found.tolerance_kind], rows)


def latencies(found: Findings) -> Chart:
    """What a unit in float costs, the dearest first."""
    costs = sorted(found.latency.items(), key=lambda item: -item[1]["value"])
    rows = []
    for name, cost in costs:
        kind, remark = ("met", "") if cost["told_apart"] else ("missed", ": noise")
        rows.append(Bar(found.labels.get(name, name), cost["value"], cost["low"], cost["high"], kind, remark))
    return Chart("ms more than with everything in INT8", rows)


def classes(found: Findings) -> list[tuple[str, Chart]]:
    """Change of every class against FP32, all quantized and as chosen, in the order of the harm of the former."""
    base = found.per_class.get("float", {})
    networks = [("quantized", EVERYTHING)] + ([("chosen", "as chosen")] if found.chosen.float_units else [])
    changes = {
        title: {
            name: value - reference
            for name, value in found.per_class.get(network, {}).items()
            if value is not None and (reference := base.get(name)) is not None
        }
        for network, title in networks
    }
    scale = tuple(value for by_class in changes.values() for value in by_class.values())
    harm = changes[EVERYTHING]
    return [
        (title, Chart("change against FP32, points", _classes(by_class, harm), scale))
        for title, by_class in changes.items()
        if by_class
    ]


def _classes(changes: Mapping[str, float], harm: Mapping[str, float]) -> list[Bar]:
    order = sorted(changes, key=lambda name: (harm.get(name, 0.0), name))[:SHOWN]
    return [Bar(name, changes[name], None, None, "int8" if changes[name] >= 0 else "loss") for name in order]


def _unit(found: Findings, name: str, value: Measured | float) -> Bar:
    label, kind = found.labels.get(name, name), "float" if name in found.chosen.float_units else "int8"
    return _measured(label, value, kind) if isinstance(value, Measured) else Bar(label, value, None, None, kind)


def _measured(name: str, value: Measured, kind: str) -> Bar:
    return Bar(name, value.value, value.low, value.high, kind)
