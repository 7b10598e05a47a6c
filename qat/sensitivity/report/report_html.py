"""Findings as one HTML page that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.files.artifacts import write_text
from core.interval import signed
from core.page.bars import Bar, Bars
from core.page.templates import templates_in
from qat.sensitivity.decide.pareto import SAME
from qat.sensitivity.report.charts import bar, front, histogram, numbers
from qat.sensitivity.report.results import Findings, skip_yaml, verdict
from qat.sensitivity.types import DAMAGE_TITLES, SCORE_TITLES, Measured

SHOWN = 40  # rows of a chart
LONG_PATH = 12  # steps of a search beyond which its chart is folded
LISTED = 8  # names of groups beyond which a table folds them
SCREEN_TITLES = {
    "snr_db": "signal-to-noise ratio of the output, dB (low is harmful)",
    "cosine": "1 − cosine of the outputs (high is harmful)",
    "kl": "KL divergence of the outputs (high is harmful)",
    "taylor": "first-order change of the loss (high is harmful)",
}
EVERYTHING = "everything in INT8"
INTERVAL = ("value", "low", "high")


def write_report(found: Findings, target: Path) -> None:
    """Render `found` to `target`."""
    write_text(target, render(found))


def render(found: Findings) -> str:
    """The page as HTML."""
    templates = templates_in(Path(__file__).parent)
    templates.filters["interval"] = _interval
    ranked = found.ranking.groups
    scores = [name for name in SCREEN_TITLES if any(name in score.scores for score in ranked)]
    groups = {group.name: group for group in found.groups}
    return templates.get_template("report.html.j2").render(
        found=found,
        verdict=verdict(found),
        skip=skip_yaml(found),
        damage=DAMAGE_TITLES[found.tolerance_kind],
        path=_search_path(found),
        replaced=_ended(found) != set(found.chosen.float_groups),
        long_path=LONG_PATH,
        listed=LISTED,
        shown=SHOWN,
        exact=_exact(found),
        screens=[_screen(found, name) for name in scores],
        front=front(found.front, found.tolerance, found.chosen.float_groups, DAMAGE_TITLES[found.tolerance_kind])
        if found.front
        else None,
        own=SAME,
        latencies=_latencies(found),
        classes=_classes(found),
        histograms=[(item, *histogram(dict(item))) for item in found.histograms],
        groups=[(groups[score.group], score) for score in ranked],
        main_score=scores[0] if scores else "",
        score_titles=SCORE_TITLES,
    )


def _exact(found: Findings) -> Bars:
    """Groups that were measured exactly, the most harmful first; also for the kind `loss` damage is a difference."""
    measured = [(score.group, score.exact) for score in found.ranking.groups if score.exact is not None]
    measured.sort(key=lambda item: -math.inf if math.isnan(item[1].value) else -item[1].value)
    title = DAMAGE_TITLES["loss_increase" if found.tolerance_kind == "loss" else found.tolerance_kind]
    return Bars(title, [_group_bar(found, name, value) for name, value in measured[:SHOWN]])


def _screen(found: Findings, name: str) -> Bars:
    """One score of the screen of the worst groups, in the order of the ranking."""
    shown = [score for score in found.ranking.groups[:SHOWN] if name in score.scores]
    values = [(score.group, score.scores[name]) for score in shown]
    if name == "cosine":  # 1.000 for nearly all groups
        values = [(group, Measured(1 - one.value, 1 - one.high, 1 - one.low, one.images)) for group, one in values]
    return Bars(SCREEN_TITLES[name], [_group_bar(found, group, value) for group, value in values])


def _search_path(found: Findings) -> Bars:
    """Damage after each step of the search; empty if there was none."""
    chosen, rows = found.chosen, list[Bar]()
    if chosen.steps and chosen.start is not None:
        rows.append(bar(EVERYTHING, chosen.start, "int8"))
    for place, step in enumerate(chosen.steps, start=1):
        became, kind = ("float", "float") if step.action == "revert" else ("INT8 again", "int8")
        rows.append(bar(f"{place}. {found.labels.get(step.group, step.group)} → {became}", step.damage, kind))
    return Bars(DAMAGE_TITLES[found.tolerance_kind], rows, found.tolerance)


def _ended(found: Findings) -> set[str]:
    """Groups that were float when the search ended; engines may then have led to another set."""
    float_groups: set[str] = set()
    for step in found.chosen.steps:
        (float_groups.add if step.action == "revert" else float_groups.discard)(step.group)
    return float_groups


def _latencies(found: Findings) -> Bars:
    """The cost of each group in float, the dearest first."""
    rows = []
    for name, cost in sorted(found.latency.items(), key=lambda item: -item[1].value):
        kind, remark = ("missed", ": noise") if cost.is_noise else ("met", "")
        text = numbers(cost.value, cost.low, cost.high) + remark
        rows.append(Bar(found.labels.get(name, name), cost.value, text, cost.low, cost.high, kind))
    return Bars("ms more than with everything in INT8", rows)


def _classes(found: Findings) -> list[tuple[str, Bars]]:
    """Change of every class against FP32, all quantized and as chosen, in the order of the harm of the former."""
    base = found.per_class.get("float", {})
    networks = {"quantized": EVERYTHING} | ({"chosen": "as chosen"} if found.chosen.float_groups else {})
    changes: dict[str, dict[str, float]] = {network: {} for network in networks}
    for network, by_class in changes.items():
        for name, value in found.per_class.get(network, {}).items():
            reference = base.get(name)
            if value is not None and reference is not None:
                by_class[name] = value - reference
    scale = [value for by_class in changes.values() for value in by_class.values()]
    order = sorted(changes["quantized"], key=lambda name: (changes["quantized"][name], name))[:SHOWN]
    charts = []
    for network, by_class in changes.items():
        rows = [
            Bar(name, change, signed(change), kind="gain" if change >= 0 else "loss")
            for name, change in ((name, by_class[name]) for name in order)
        ]
        charts.append((networks[network], Bars("change against FP32, points", rows, scale=scale)))
    return charts if order else []


def _group_bar(found: Findings, name: str, value: Measured) -> Bar:
    return bar(found.labels.get(name, name), value, "float" if name in found.chosen.float_groups else "int8")


def _interval(value: Any) -> str:
    """A value with its interval, given as an object or as JSON values."""
    if value is None:
        return "–"
    return numbers(*(value[key] if isinstance(value, Mapping) else getattr(value, key) for key in INTERVAL))
