from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from qat.sensitivity.report.results import Findings
from qat.sensitivity.report.terminal import SHOWN_GROUPS, print_findings
from tests.sensitivity.report.findings import findings, many


def printed(found: Findings, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True)
    print_findings(found, console)
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize("width", [80, 120])
def test_every_group_is_one_line_that_fits(width: int) -> None:
    lines = printed(many(300), width)
    table = lines[: next(index for index, line in enumerate(lines) if "measured exactly" in line)]
    rows = [line for line in table if "projection +2" in line]
    assert len(rows) == SHOWN_GROUPS and max(map(len, table)) <= width
    assert all("-0.00012 [-0.00046, 0.0079]" in row for row in rows)
    assert rows[0].endswith("float") and rows[1].endswith("INT8")
    assert "300 of 3 groups measured exactly; 280 less harmful ones are in results.json" in lines


def test_a_wide_table_has_all_scores_and_what_float_costs() -> None:
    narrow, wide = (printed(many(3), width) for width in (80, 120))
    assert "SNR, dB" in narrow[1] and "cosine" not in narrow[1] and "ms in float" not in narrow[1]
    assert all(title in wide[1] for title in ("SNR, dB", "cosine", "KL", "ms in float"))
    first, second, third = (line.split() for line in wide if "projection" in line and "float:" not in line)
    assert first[-2] == "+0.25" and second[-2] == "noise" and third[-2] == "–"


def test_the_title_tells_what_a_group_was_measured_by() -> None:
    absolute = replace(findings(), tolerance_kind="loss")
    assert "loss_increase [95 %]" in printed(absolute, 80)[1]
    assert "loss_increase saved [95 %]" in printed(replace(absolute, mode="one_out"), 80)[1]


def test_the_table_names_what_stays_float() -> None:
    lines = printed(findings(), 80)
    assert any("0.3 [0.25, 0.35]" in line for line in lines) and "float: body.0" in lines
    assert lines[-1].startswith("tolerance met")


def test_the_worst_groups_have_a_cause_and_a_remedy() -> None:
    assert "cause: body.0: channels does 90% of the damage, remedy: float" in printed(findings(), 80)
