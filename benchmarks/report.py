"""results.json and its pictures as one HTML page that needs nothing else.

python -m benchmarks.report RUN      renders a run's page again
"""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from benchmarks import peer_results, peer_table, results, svg, table
from benchmarks.results import Results, Row, find_row
from core.artifacts import write_text
from core.cli import add_config_options, config_from
from core.console import say
from core.errors import run_cli
from core.paths import RunPaths

FILE_NAME = "report.html"
MIN_MIOU_SPAN = 3.0  # points on the scatter chart's y axis: less would blow up noise
MIN_CHANGE_SPAN = 1.0  # points to each side of the per-class charts


def render(found: Results, folder: Path) -> str:
    """The page as HTML; pictures are read from `folder` and put inside."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"signed": table.signed, "rgb": rgb}
    return templates.get_template("report.html.j2").render(
        results=found,
        best=results.fastest_int8(found.rows),
        fp32={row.name: find_row(found.rows, row.backend, "fp32") for row in found.rows},
        columns=table.COLUMNS,
        cells=table.cells,
        mib=table.MIB,
        scatter=scatter(found.rows),
        changes=changes(found),
        png=lambda name: png_uri(folder / name),
        **peer_table.report_section(peer_results.load_if_any(folder)),
    )


def scatter(rows: Sequence[Row]) -> Markup | None:
    """Latency against mIoU of every measured engine."""
    points = [
        svg.Point(row.latency_ms.p50, row.miou, row.precision, row.backend)
        for row in sorted(rows, key=lambda row: row.precision != "fp32")
        if row.latency_ms is not None and row.miou is not None
    ]
    return Markup(svg.scatter(points, "latency p50, ms", "mIoU, %", MIN_MIOU_SPAN)) if points else None


def changes(found: Results) -> list[tuple[str, Markup]]:
    """Per INT8 engine: its name and the chart of its IoU changes against FP32."""
    bars = {
        row.name: [_bar(name, fp32.per_class_iou[name], iou) for name, iou in row.per_class_iou.items()]
        for row in found.rows
        if row.precision == "int8"
        and row.per_class_iou is not None
        and (fp32 := find_row(found.rows, row.backend, "fp32")) is not None
        and fp32.per_class_iou is not None
    }
    sizes = [abs(bar.change) for chart in bars.values() for bar in chart if bar.change is not None]
    limit = max([MIN_CHANGE_SPAN, *sizes])
    return [(name, Markup(svg.change_bars(chart, limit))) for name, chart in bars.items()]


def _bar(name: str, before: float | None, after: float | None) -> svg.Bar:
    if before is None or after is None:
        return svg.Bar(name, None, f"{name}: not in the validation set")
    return svg.Bar(name, after - before, f"{name}: FP32 {before:.2f} %, INT8 {after:.2f} %")


def png_uri(path: Path) -> str:
    """A PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


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
