from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from qat.sensitivity.decide.search import Chosen
from qat.sensitivity.report.results import Findings
from qat.sensitivity.report.terminal import SHOWN_UNITS, print_findings
from qat.sensitivity.types import Measured, Ranking, Unit, UnitScore
from tests.sensitivity.test_results import findings


def printed(found: Findings, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True)
    print_findings(found, console)
    return [line.rstrip() for line in console.export_text().splitlines()]


def many(count: int) -> Findings:
    """Units with long names of many layers each, all of them with every score, and latencies of the first ones."""
    names = [f"backbone.stages.{index}.blocks.{index}.attention.projection" for index in range(count)]
    units = tuple(Unit(name, (name,), "both", (name, "cat", "head.conv")) for name in names)
    damage = Measured(-0.000123, -0.000456, 0.00789, 24)
    scores = {name: Measured(0.12345, 0.1, 0.2, 24) for name in ("snr_db", "cosine", "kl")}
    cost = {"value": 0.25, "low": 0.1, "high": 0.3, "told_apart": True}
    return replace(
        findings(),
        units=units,
        ranking=Ranking(tuple(UnitScore(name, scores, damage) for name in names)),
        chosen=Chosen((names[0],), damage, True, True, (), 3),
        latency={names[0]: cost, names[1]: {**cost, "low": -0.1, "told_apart": False}},
    )


@pytest.mark.parametrize("width", [80, 120])
def test_every_unit_is_one_line_that_fits(width: int) -> None:
    lines = printed(many(300), width)
    table = lines[: next(index for index, line in enumerate(lines) if "measured exactly" in line)]
    rows = [line for line in table if "projection +2" in line]
    assert len(rows) == SHOWN_UNITS and max(map(len, table)) <= width
    assert all("-0.00012 [-0.00046, 0.0079]" in row for row in rows)
    assert rows[0].endswith("float") and rows[1].endswith("INT8")
    assert "300 of 3 units measured exactly; 280 less harmful ones are in results.json" in lines


def test_a_wide_table_has_all_scores_and_what_float_costs() -> None:
    narrow, wide = (printed(many(3), width) for width in (80, 120))
    assert "SNR, dB" in narrow[1] and "cosine" not in narrow[1] and "ms in float" not in narrow[1]
    assert all(title in wide[1] for title in ("SNR, dB", "cosine", "KL", "ms in float"))
    first, second, third = (line.split() for line in wide if "projection" in line and "float:" not in line)
    assert first[-2] == "+0.25" and second[-2] == "noise" and third[-2] == "–"


def test_the_title_tells_what_a_unit_was_measured_by() -> None:
    absolute = replace(findings(), tolerance_kind="loss")
    assert "loss_increase [95 %]" in printed(absolute, 80)[1]
    assert "loss_increase saved [95 %]" in printed(replace(absolute, mode="one_out"), 80)[1]


def test_the_table_names_what_stays_float() -> None:
    lines = printed(findings(), 80)
    assert any("0.3 [0.25, 0.35]" in line for line in lines) and "float: body.0" in lines
    assert lines[-1].startswith("tolerance met")
