"""The results of `python -m deploy quantize`: a table, `quantize.json` and `report.html`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from rich.console import Console

from core.cli.text_table import Table
from core.files.artifacts import write_json, write_text
from deploy.apps.quantize.compare import Row
from deploy.checks.fidelity import Fidelity

MISSING = "–"
RESULT, REPORT = "quantize.json", "report.html"
_SHORT = {"agreement": "equal %", "iou": "IoU %", "snr_db": "SNR dB"}


@dataclass(frozen=True)
class Result:
    """Everything found, in words and numbers.

    Attributes:
        told: decisions made for the user, by subject: the input, the pictures, the recipe.
        rows: engines.
        trials: recipes, the closest first.
        metric: name of the measure that labels allow; "" without labels.
    """

    source: str
    told: dict[str, str]
    rows: Sequence[Row]
    trials: Sequence[dict[str, Any]] = ()
    metric: str = ""
    command: str = ""
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def best(self) -> Row | None:
        """The fastest INT8 engine that ran."""
        timed = [row for row in self.rows if row.precision == "int8" and row.ms is not None]
        return min(timed, key=lambda row: row.ms or 0.0, default=None)

    @property
    def fastest(self) -> Row | None:
        """The fastest engine that ran, of any precision."""
        timed = [row for row in self.rows if row.ms is not None]
        return min(timed, key=lambda row: row.ms or 0.0, default=None)

    def verdict(self) -> str:
        """One sentence that names the engine to ship: the fastest INT8 engine, unless a float one is as fast."""
        best, first = self.best, self.fastest
        if best is None or first is None:
            return "No INT8 engine could be timed here"
        parts = [] if best.speedup is None else [f"{best.speedup.value:.2f}× the speed of FP32"]
        equal = min((each.agreement for each in best.fidelity if each.agreement is not None), default=None)
        parts += [] if equal is None else [f"{100 * equal:.2f} % of decisions are FP32's"]
        if not parts and best.fidelity:
            parts = [f"SNR {min(each.snr_db for each in best.fidelity):.1f} dB"]
        if first is best:
            return f"Ship {best.engine}: {', '.join(parts)}"
        slower = f"{best.engine} takes {best.ms:.2f} ms"
        return f"Ship {first.engine}: {first.ms:.2f} ms, where {slower} and rounds besides ({', '.join(parts)})"

    def table(self) -> Table:
        """At most 80 columns wide."""
        columns = ["engine", "ms", "× FP32", *_SHORT.values(), "INT8", *([self.metric] if self.metric else [])]
        return Table(columns, [self._cells(row) for row in self.rows])

    def _cells(self, row: Row) -> list[str]:
        cells = [row.engine + ("*" if row.status == "simulated" else ""), _number(row.ms)]
        cells.append(MISSING if row.speedup is None else f"{row.speedup.value:.2f}×")
        cells += [
            _worst(row.fidelity, lambda each: each.agreement, 100),
            _worst(row.fidelity, lambda each: each.iou, 100),
            _worst(row.fidelity, lambda each: each.snr_db, 1, "{:.1f}"),
            MISSING if row.convolutions is None else f"{row.int8_convolutions}/{row.convolutions}",
        ]
        return [*cells, _number(row.score)] if self.metric else cells

    def outputs(self) -> Table:
        """Fidelity output by output, for networks with several."""
        lines = [
            [row.engine, each.output, *(text for text, _ in _measures(each)), f"{each.cosine:.5f}"]
            for row in self.rows
            for each in row.fidelity
            if row.precision != "fp32"
        ]
        return Table(["engine", "output", *_SHORT.values(), "cosine"], lines, left=2)

    def lines(self) -> list[str]:
        """Notes under the table."""
        absent = [f"{row.engine}: {row.status}: {row.reason}" for row in self.rows if row.status != "ok"]
        starred = ["* its graph, run by ONNX Runtime"] if any(row.status == "simulated" for row in self.rows) else []
        return [*starred, *absent, *self.notes]

    def print(self, console: Console) -> None:
        """The table with its notes, the table of outputs where there are several, and the verdict."""
        self.table().print(console, self.lines())
        if len({each.output for row in self.rows for each in row.fidelity}) > 1:
            self.outputs().print(console)
        console.print(self.verdict(), markup=False)

    def to_json(self) -> dict[str, Any]:
        """The content of `quantize.json`."""
        return {
            "source": self.source,
            "command": self.command,
            "verdict": self.verdict(),
            "decided": self.told,
            "metric": self.metric,
            "recipes": list(self.trials),
            "engines": [row.to_json() for row in self.rows],
        }

    def write(self, folder: Path) -> None:
        """`quantize.json` and `report.html` in `folder`."""
        write_json(folder / RESULT, self.to_json())
        loader = jinja2.FileSystemLoader(Path(__file__).parent)
        page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, loader=loader)
        write_text(folder / REPORT, page.get_template("report.html.j2").render(result=self))


def _measures(each: Fidelity) -> list[tuple[str, float | None]]:
    return [
        (_number(each.agreement, 100), each.agreement),
        (_number(each.iou, 100), each.iou),
        (_number(each.snr_db, 1, "{:.1f}"), each.snr_db),
    ]


def _worst(
    outputs: Sequence[Fidelity], value: Callable[[Fidelity], float | None], factor: float, form: str = "{:.2f}"
) -> str:
    found = [each for output in outputs if (each := value(output)) is not None]
    return _number(min(found), factor, form) if found else MISSING


def _number(value: float | None, factor: float = 1, form: str = "{:.2f}") -> str:
    return MISSING if value is None else form.format(factor * value)
