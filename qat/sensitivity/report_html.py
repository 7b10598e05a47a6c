"""Findings as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from core.artifacts import write_text
from qat.sensitivity import charts
from qat.sensitivity.pareto import Point
from qat.sensitivity.results import Findings, skip_yaml, verdict
from qat.sensitivity.types import DAMAGE_TITLES, Measured, UnitScore

SHOWN_UNITS = 40


def write_report(found: Findings, points: Sequence[Point], target: Path) -> None:
    """Render `found` and the measured points of its Pareto search to `target`."""
    write_text(target, render(found, points))


def render(found: Findings, points: Sequence[Point] = ()) -> str:
    """The page as HTML."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    damage = DAMAGE_TITLES[found.tolerance_kind]
    return templates.get_template("report.html.j2").render(
        found=found,
        verdict=verdict(found),
        skip=skip_yaml(found),
        damage=damage,
        exact=Markup(charts.bars(rows, damage)) if (rows := _exact(found)) else None,
        screens=[(name, Markup(charts.bars(rows, name))) for name, rows in _screens(found).items()],
        pareto=_front(found, points),
        points=points,
        classes=_classes(found),
        histograms=[(item, Markup(charts.histogram(dict(item)))) for item in found.histograms],
        shown=SHOWN_UNITS,
    )


def _front(found: Findings, points: Sequence[Point]) -> Markup | None:
    if not points:
        return None
    y_title = DAMAGE_TITLES[found.tolerance_kind]
    return Markup(charts.scatter(points, found.chosen.float_units, "engine latency, ms", y_title, found.tolerance))


def _kind(found: Findings, score: UnitScore) -> str:
    return "float" if score.unit in found.chosen.float_units else "int8"


def _exact(found: Findings) -> list[charts.Bar]:
    """Units that were measured exactly, the most harmful first."""
    measured = [(score, score.exact) for score in found.ranking.units if score.exact is not None]
    measured.sort(key=lambda item: -item[1].value)
    return [
        charts.Bar(score.unit, exact.value, exact.low, exact.high, _kind(found, score))
        for score, exact in measured[:SHOWN_UNITS]
    ]


def _screens(found: Findings) -> dict[str, list[charts.Bar]]:
    """For every score of the screen the bars of all units, in the order of the ranking."""
    names = dict.fromkeys(name for score in found.ranking.units for name in score.scores)
    return {
        name: [
            _bar(found, score, score.scores[name])
            for score in found.ranking.units[:SHOWN_UNITS]
            if name in score.scores
        ]
        for name in names
    }


def _bar(found: Findings, score: UnitScore, value: Measured | float) -> charts.Bar:
    if isinstance(value, Measured):
        return charts.Bar(score.unit, value.value, value.low, value.high, _kind(found, score))
    return charts.Bar(score.unit, value, None, None, _kind(found, score))


def _classes(found: Findings) -> list[tuple[str, Markup]]:
    """Change of every class against FP32, all quantized and as chosen."""
    base = found.per_class.get("float", {})
    charts_by_network = []
    for network, title in (("quantized", "everything quantized"), ("chosen", "as chosen")):
        changes = [
            (name, value - reference)
            for name, value in found.per_class.get(network, {}).items()
            if value is not None and (reference := base.get(name)) is not None
        ]
        if changes:
            rows = [charts.Bar(name, change, None, None, "int8" if change >= 0 else "loss") for name, change in changes]
            chart = charts.bars(rows, f"{found.baseline.metric} against FP32, points")
            charts_by_network.append((title, Markup(chart)))
    return charts_by_network
