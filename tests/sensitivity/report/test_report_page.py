"""The page in a real browser: nothing is written to the console, nothing sticks out or lies over something else."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from qat.sensitivity.report.report_html import render
from tests.sensitivity.report.findings import many
from tests.sensitivity.report.test_report_html import POINTS
from tests.unit.benchmarks.test_report_browser import BROWSER, opened

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no chromium and no google-chrome on the PATH"),
    pytest.mark.slow,
]

WIDTHS = (420, 1300)
MEASURE = """<iframe srcdoc="" style="width: %dpx; height: 900px; border: 0"></iframe><script>
const frame = document.querySelector("iframe"), told = {};
frame.onload = () => {
  const page = frame.contentDocument, box = element => element.getBoundingClientRect();
  told.over = page.documentElement.scrollWidth - page.documentElement.clientWidth;
  told.rows = page.querySelectorAll(".row").length;
  told.covered = [...page.querySelectorAll(".row")].filter(row => {
    const [name, track, value] = [...row.children].map(box);
    const beside = Math.min(name.right, value.right) > Math.max(name.left, value.left);
    const under = track.top < Math.max(name.bottom, value.bottom) && track.left < name.right;
    return beside || under;
  }).length;
  document.title = JSON.stringify(told);
};
frame.srcdoc = PAGE;
</script>"""


@pytest.mark.parametrize("width", WIDTHS)
def test_long_names_neither_stick_out_nor_lie_over_their_bars(width: int, tmp_path: Path) -> None:
    page = render(replace(many(300), front=POINTS))
    quoted = json.dumps(page).replace("</", "<\\/")
    dom, console = opened((MEASURE % width).replace("PAGE", quoted), tmp_path)
    assert console == []
    title = re.search(r"<title>({.*?})</title>", dom)
    assert title
    assert json.loads(title[1]) == {"over": 0, "rows": 40 + 3 * 40 + 2, "covered": 0}
