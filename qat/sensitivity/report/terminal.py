"""The findings at the terminal: one line a unit at any width, then what was chosen and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from core.console import tail
from qat.sensitivity.report.results import Findings, verdict
from qat.sensitivity.types import SCORE_TITLES, Measured, UnitScore

SHOWN_UNITS = 20
WIDE = 100  # columns of a terminal that has room for all scores and latencies
GAP = 2  # columns between two cells, one of which the box draws
SHORTEST = 12  # columns of a name


def print_findings(found: Findings, console: Console) -> None:
    """The worst units, the chosen set and the verdict, for people."""
    base, chosen = found.baseline, found.chosen
    units = found.ranking.units
    console.print(_table(found, console.width))
    lines = [f"{sum(score.exact is not None for score in units)} of {base.units} units measured exactly"]
    if len(units) > SHOWN_UNITS:
        lines[0] += f"; {len(units) - SHOWN_UNITS} less harmful ones are in results.json"
    lines.append(f"loss: FP32 {base.float_loss:.4g}, all quantized {base.quantized_loss:.4g}")
    if base.float_metric is not None and base.quantized_metric is not None:
        lines.append(f"{base.metric}: FP32 {base.float_metric:.4g}, all quantized {base.quantized_metric:.4g}")
    lines.append(f"float: {', '.join(chosen.float_units) or 'nothing'}")
    lines += [f"note: {note}" for note in found.notes]
    for line in [*lines, verdict(found)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(found: Findings, width: int) -> Table:
    """Columns for `width`; a name that is too long for what they leave loses its beginning."""
    titles, rows = _columns(found, width >= WIDE)
    taken = sum(max(map(len, column)) + GAP for column in zip(titles, *rows, strict=True))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, GAP - 1, 0, 0), pad_edge=False)
    place, *others = titles
    table.add_column(place, justify="right")
    table.add_column("unit", no_wrap=True)
    for title in others:
        table.add_column(title, justify="left" if title == "stays" else "right", no_wrap=True)
    shown = found.ranking.units[:SHOWN_UNITS]
    for score, (number, *cells) in zip(shown, rows, strict=True):
        table.add_row(number, tail(found.labels[score.unit], max(width - taken - GAP, SHORTEST)), *cells)
    return table


def _columns(found: Findings, wide: bool) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of everything but the units' names."""
    shown = found.ranking.units[:SHOWN_UNITS]
    names = [name for name in SCORE_TITLES if any(name in score.scores for score in shown)]
    names = names if wide else names[:1]
    latency = found.latency if wide else {}
    harm = "loss_increase" if found.tolerance_kind == "loss" else found.tolerance_kind  # a unit's is a difference
    saved = "" if found.mode == "one_in" else " saved"
    titles = ["#", *(SCORE_TITLES[name] for name in names), f"{harm}{saved} [95 %]"]
    titles += ["ms in float"] if latency else []
    return [*titles, "stays"], [
        _cells(place, score, names, latency, score.unit in found.chosen.float_units)
        for place, score in enumerate(shown, start=1)
    ]


def _cells(
    place: int, score: UnitScore, names: Sequence[str], latency: Mapping[str, Mapping[str, Any]], stays_float: bool
) -> list[str]:
    cost = [_cost(latency.get(score.unit))] if latency else []
    scores = [_value(score.scores.get(name), 6 if name == "cosine" else 3) for name in names]  # it is close to 1
    return [str(place), *scores, _interval(score.exact), *cost, "float" if stays_float else "INT8"]


def _value(score: Measured | float | None, digits: int) -> str:
    if score is None:
        return "–"
    return f"{score.value if isinstance(score, Measured) else score:.{digits}g}"


def _interval(found: Measured | None) -> str:
    return "–" if found is None else f"{found.value:.2g} [{found.low:.2g}, {found.high:.2g}]"


def _cost(cost: Mapping[str, Any] | None) -> str:
    if cost is None:
        return "–"
    return f"{cost['value']:+.2g}" if cost["told_apart"] else "noise"
