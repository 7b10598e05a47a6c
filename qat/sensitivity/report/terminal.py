"""The findings at the terminal: one line a group at any width, then the chosen set and the verdict."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from core.console import tail
from qat.sensitivity.report.results import Findings, verdict
from qat.sensitivity.types import SCORE_TITLES, GroupScore

SHOWN_GROUPS = 20
SHOWN_CAUSES = 5
WIDE = 100  # columns of a terminal that has room for all scores and latencies
GAP = 2  # columns between two cells, one of which the box draws
SHORTEST = 12  # columns of a name


def print_findings(found: Findings, console: Console) -> None:
    """Print the worst groups, the chosen set and the verdict."""
    base, chosen = found.baseline, found.chosen
    groups = found.ranking.groups
    console.print(_table(found, console.width))
    lines = [f"{sum(score.exact is not None for score in groups)} of {base.groups} groups measured exactly"]
    if len(groups) > SHOWN_GROUPS:
        lines[0] += f"; {len(groups) - SHOWN_GROUPS} less harmful ones are in results.json"
    lines.append(f"loss: FP32 {base.float_loss:.4g}, all quantized {base.quantized_loss:.4g}")
    if base.float_metric is not None and base.quantized_metric is not None:
        lines.append(f"{base.metric}: FP32 {base.float_metric:.4g}, all quantized {base.quantized_metric:.4g}")
    lines.append(f"float: {', '.join(chosen.float_groups) or 'nothing'}")
    lines += [f"note: {note}" for note in found.notes]
    lines += [f"cause: {found.labels[cause.group]}: {cause}" for cause in found.causes[:SHOWN_CAUSES]]
    for line in [*lines, verdict(found)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(found: Findings, width: int) -> Table:
    """Columns for `width`; a name that is too long for the room they leave loses its beginning."""
    shown = found.ranking.groups[:SHOWN_GROUPS]
    scores = [name for name in SCORE_TITLES if any(name in score.scores for score in shown)][
        : None if width >= WIDE else 1
    ]
    harm = "loss_increase" if found.tolerance_kind == "loss" else found.tolerance_kind  # a group's is a difference
    with_latency = width >= WIDE and bool(found.latency)
    titles = [*(SCORE_TITLES[name] for name in scores), f"{harm}{'' if found.mode == 'one_in' else ' saved'} [95 %]"]
    titles += ["ms in float"] if with_latency else []
    rows = [_cells(found, score, scores, with_latency) for score in shown]
    columns = zip(["##", *titles, "stays"], *(["##", *row] for row in rows), strict=True)
    taken = sum(max(map(len, column)) + GAP for column in columns)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, GAP - 1, 0, 0), pad_edge=False)
    for title in ("#", "group", *titles, "stays"):
        table.add_column(title, justify="left" if title in ("group", "stays") else "right", no_wrap=True)
    for place, (score, cells) in enumerate(zip(shown, rows, strict=True), start=1):
        table.add_row(str(place), tail(found.labels[score.group], max(width - taken - GAP, SHORTEST)), *cells)
    return table


def _cells(found: Findings, score: GroupScore, names: list[str], with_latency: bool) -> list[str]:
    """Everything but the place and the name."""
    cells = []
    for name in names:
        value = score.scores.get(name)
        cells.append("–" if value is None else f"{value.value:.{6 if name == 'cosine' else 3}g}")  # it is close to 1
    exact = score.exact
    cells.append("–" if exact is None else f"{exact.value:.2g} [{exact.low:.2g}, {exact.high:.2g}]")
    if with_latency:
        cost = found.latency.get(score.group)
        cells.append("–" if cost is None else "noise" if cost.is_noise else f"{cost.value:+.2g}")
    return [*cells, "float" if score.group in found.chosen.float_groups else "INT8"]
