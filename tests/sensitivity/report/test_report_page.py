"""The page in a real browser: nothing is written to the console, nothing sticks out or lies over something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qat.sensitivity.report.report_html import render
from tests.browser import needs_browser, seen
from tests.sensitivity.report.findings import many
from tests.sensitivity.report.test_report_html import POINTS

pytestmark = [needs_browser, pytest.mark.slow]

WIDTHS = (420, 1300)
LOOK = """page => {
  const box = element => element.getBoundingClientRect(), rows = [...page.querySelectorAll(".row")];
  const covered = rows.filter(row => {
    const [name, track, value] = [...row.children].map(box);
    const beside = Math.min(name.right, value.right) > Math.max(name.left, value.left);
    const under = track.top < Math.max(name.bottom, value.bottom) && track.left < name.right;
    return beside || under;
  });
  return { rows: rows.length, covered: covered.length };
}"""


@pytest.mark.parametrize("width", WIDTHS)
def test_long_names_neither_stick_out_nor_lie_over_their_bars(width: int, tmp_path: Path) -> None:
    page = render(replace(many(300), front=POINTS))
    assert seen(page, width, LOOK, tmp_path) == {"over": 0, "rows": 40 + 3 * 40 + 2, "covered": 0}


def test_closed_parts_open_for_printing(tmp_path: Path) -> None:
    """The browser sends the same events when it prints."""
    script = """page => {
      const closed = () => page.querySelectorAll("details:not([open])").length, before = closed();
      page.defaultView.dispatchEvent(new Event("beforeprint"));
      const printed = closed();
      page.defaultView.dispatchEvent(new Event("afterprint"));
      return { before, printed, after: closed() };
    }"""
    assert seen(render(many(300)), 800, script, tmp_path) == {"over": 0, "before": 4, "printed": 0, "after": 4}
