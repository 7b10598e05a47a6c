"""Findings as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from core.artifacts import write_text
from core.console import duration
from core.templates import templates_in
from qat.sensitivity.decide.pareto import SAME, Point
from qat.sensitivity.report import charts, report_bars
from qat.sensitivity.report.front_chart import front_chart
from qat.sensitivity.report.report_bars import Chart
from qat.sensitivity.report.results import Findings, skip_yaml, verdict
from qat.sensitivity.types import DAMAGE_TITLES, SCORE_TITLES, Measured

LONG_PATH = 12  # steps of a search beyond which its chart is folded
LISTED = 8  # names of units beyond which a table folds them
SECONDS = {"screen_s": "screen", "total_s": "ranking", "search_s": "search", "finish_s": "engines and reports"}


def write_report(found: Findings, points: Sequence[Point], target: Path) -> None:
    """Render `found` and the measured points of its Pareto search to `target`."""
    write_text(target, render(found, points))


def render(found: Findings, points: Sequence[Point] = ()) -> str:
    """The page as HTML."""
    templates = templates_in(Path(__file__).parent)
    templates.filters |= {"measured": _measured, "milliseconds": _milliseconds}
    templates.tests["own"] = lambda point: point.against_chosen == SAME
    damage = DAMAGE_TITLES[found.tolerance_kind]
    front = Markup(front_chart(points, found.chosen.float_units, damage, found.tolerance)) if points else None
    return templates.get_template("report.html.j2").render(
        found=found,
        verdict=verdict(found),
        skip=skip_yaml(found),
        damage=damage,
        path=_drawn(report_bars.search_path(found), found.tolerance),
        replaced=set(_ended(found)) != set(found.chosen.float_units),
        long_path=LONG_PATH,
        listed=LISTED,
        exact=_drawn(report_bars.exact(found)),
        screens=[(chart.title, _drawn(chart)) for chart in report_bars.screens(found)],
        front=front,
        points=points,
        latencies=_drawn(report_bars.latencies(found)),
        classes=[(title, _drawn(chart)) for title, chart in report_bars.classes(found)],
        histograms=[(item, Markup(charts.histogram(dict(item)))) for item in found.histograms],
        units=_units(found),
        screen=SCORE_TITLES.get(report_bars.main_score(found)),
        shown=report_bars.SHOWN,
        cost=found.ranking.cost,
        seconds=_seconds(found),
    )


def _drawn(chart: Chart, limit: float | None = None) -> Markup | None:
    return Markup(charts.bars(chart.rows, chart.title, limit, chart.scale)) if chart.rows else None


def _ended(found: Findings) -> list[str]:
    """Units that were float when the search ended; engines may then have led to another set."""
    float_units: list[str] = []
    for step in found.chosen.steps:
        (float_units.append if step.action == "revert" else float_units.remove)(step.unit)
    return float_units


def _units(found: Findings) -> list[dict[str, Any]]:
    """Every unit in the order of the ranking, with its layers."""
    by_name = {unit.name: unit for unit in found.units}
    return [
        {
            "name": score.unit,
            "layers": by_name[score.unit].layers,
            "tensors": by_name[score.unit].tensors,
            "quantizers": by_name[score.unit].quantizers,
            "screen": score.scores.get(report_bars.main_score(found)),
            "exact": score.exact,
            "latency": found.latency.get(score.unit),
            "float": score.unit in found.chosen.float_units,
        }
        for score in found.ranking.units
    ]


def _seconds(found: Findings) -> dict[str, str]:
    """How long each part took, as people say it."""
    spent = {**found.ranking.cost, **found.cost}
    return {title: duration(spent[key]) for key, title in SECONDS.items() if key in spent}


def _measured(value: Measured | float | None) -> str:
    if value is None:
        return "–"
    return f"{value.value:.3g} [{value.low:.3g}, {value.high:.3g}]" if isinstance(value, Measured) else f"{value:.3g}"


def _milliseconds(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return "–"
    noise = "" if value.get("told_apart", True) else ": noise"
    return f"{value['value']:.3g} [{value['low']:.3g}, {value['high']:.3g}]{noise}"
