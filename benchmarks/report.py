"""results.json and its pictures as one HTML page that needs nothing else.

python -m benchmarks.report RUN      renders a run's page again
"""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Iterable
from pathlib import Path

from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from benchmarks import charts, curve, peer_results, peer_table, results, sensitivity_section, table
from benchmarks.charts import Figure
from benchmarks.curve import Sweep
from benchmarks.results import LayerCost, Placed, Results, Row, find_row
from benchmarks.sensitivity_section import Sensitivity
from core.artifacts import write_text
from core.cli import add_config_options, config_from
from core.console import say
from core.errors import run_cli
from core.paths import RunPaths
from core.templates import templates_in

FILE_NAME = "report.html"


def render(found: Results, folder: Path) -> str:
    """The page as HTML; pictures are read from `folder` and put inside."""
    templates = templates_in(Path(__file__).parent)
    templates.filters |= {"signed": table.signed, "rgb": rgb, "stacked": stacked, "mhz": mhz}
    best, sweep = results.fastest_int8(found.rows), curve.load(folder)
    sensitivity = sensitivity_section.of_run(found.run)
    drawn = figures(found, best, sweep, sensitivity)
    return templates.get_template("report.html.j2").render(
        results=found,
        best=best,
        fp32={row.name: find_row(found.rows, row.backend, "fp32") for row in found.rows},
        columns=table.COLUMNS,
        cells=table.cells,
        mib=table.MIB,
        sweep=sweep,
        sensitivity=sensitivity,
        sweep_is_of_this_run=sweep is not None and sweep.qdq_sha256 in found.artifacts.values(),
        figures=drawn,
        changes=[name.removeprefix("change-") for name in drawn if name.startswith("change-")],
        time_by_kind=time_by_kind,
        skips_by_reason=skips_by_reason,
        plotly_js=Markup(get_plotlyjs()) if drawn else "",
        png=lambda name: png_uri(folder / name),
        **peer_table.report_section(peer_results.load_if_any(folder)),
    )


def figures(
    found: Results, best: Row | None, sweep: Sweep | None, sensitivity: Sensitivity | None
) -> dict[str, Figure]:
    """Every chart by the id of its place in the page; what was not measured has none."""
    drawn: dict[str, Figure | None] = {"scatter": charts.scatter(found.rows)}
    drawn |= {f"change-{name}": figure for name, figure in charts.changes(found.rows).items()}
    if best is not None and best.name in found.layers:
        drawn["layers"] = charts.slowest_layers(found.layers[best.name])
    if sweep is not None:
        drawn["batches"] = charts.curves(sweep.batches, "batch")
        drawn["sizes"] = charts.curves(sweep.sizes, "megapixels")
    if sensitivity is not None:
        drawn["sensitivity"] = charts.damages(sensitivity)
    return {name: figure for name, figure in drawn.items() if figure is not None}


def time_by_kind(layers: Iterable[LayerCost]) -> list[tuple[str, str, int, float]]:
    """Kind, precision, number of layers and their milliseconds in all, slowest first."""
    sums: dict[tuple[str, str], list[float]] = {}
    for layer in layers:
        sums.setdefault((layer.kind, layer.precision), []).append(layer.ms)
    rows = [(kind, precision, len(times), sum(times)) for (kind, precision), times in sums.items()]
    return sorted(rows, key=lambda row: -row[3])


def skips_by_reason(placement: Placed) -> list[tuple[str, str, list[str]]]:
    """Rule, reason, and the nodes it left in float; most nodes first."""
    nodes: dict[tuple[str, str], list[str]] = {}
    for skip in placement.skips:
        nodes.setdefault((skip.rule, skip.why), []).append(skip.node)
    return sorted(((rule, why, names) for (rule, why), names in nodes.items()), key=lambda row: -len(row[2]))


def png_uri(path: Path) -> str:
    """A PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def stacked(cell: str) -> Markup:
    """A number with what stands in brackets behind it, an interval or a ratio, on a line of its own."""
    value, _, rest = cell.partition(" ")
    if not rest.startswith(("[", "(")):
        return escape(cell)
    return Markup("{}<br><small>{}</small>").format(value, rest)


def mhz(clock: float | None) -> str:
    """A clock as text."""
    return "unknown" if clock is None else f"{clock:.0f} MHz"


def rgb(color: tuple[int, int, int]) -> str:
    """A colour as CSS writes it."""
    return "rgb({} {} {})".format(*color)


def write_report(found: Results, folder: Path) -> Path:
    """Render into `folder`/report.html; returns its path."""
    target = folder / FILE_NAME
    write_text(target, render(found, folder))
    return target


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description="Render report.html again.")
    parser.add_argument("run", nargs="?", metavar="RUN", help="name of the run; by default the one of --config")
    add_config_options(parser)
    arguments = parser.parse_args()

    def command() -> None:
        run = arguments.run or config_from(arguments).run
        say(f"report: {write_report(results.load(run), RunPaths(run).results)}")

    return run_cli(command, debug=arguments.debug)


if __name__ == "__main__":
    sys.exit(main())
