"""The report of a real run in a real browser: nothing sticks out, no label lies over another, tables sort."""

import pytest

from benchmarks.report.page import render
from tests.browser import needs_browser, opened, seen
from tests.unit.benchmarks.report.test_report_size import streets

pytestmark = [needs_browser, pytest.mark.slow]

LOOK = """page => {
  const shown = element => element.getClientRects().length > 0, box = element => element.getBoundingClientRect();
  const labels = [...page.querySelectorAll("svg .label")].filter(shown).map(box);
  const covers = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const cells = [...page.querySelectorAll('[data-engine="openvino int8"] td')].map(box);
  return {
    drawings: [...page.querySelectorAll(".plot svg")].filter(shown).length,
    labels: labels.length,
    covered: labels.flatMap((a, i) => labels.slice(i + 1).filter(b => covers(a, b))).length,
    cells: cells.filter(cell => cell.right <= page.documentElement.clientWidth).length,
    pictures: [...page.querySelectorAll(".strip figure:last-child img")].map(box).filter(
      picture => picture.left >= 0 && picture.right <= page.documentElement.clientWidth && picture.width > 100).length,
    buttons: page.querySelectorAll("[data-copy] + .copy").length,
  };
}"""
SORT = """page => {
  const has = (element, text) => element.textContent.includes(text);
  const table = [...page.querySelectorAll("table[data-sort]")].filter(each => has(each.tHead, "SNR")).pop();
  const header = [...table.tHead.rows[0].cells].find(cell => has(cell, "SNR"));
  const column = () => [...table.tBodies[0].rows].map(row => row.cells[header.cellIndex].textContent);
  header.firstElementChild.click();
  const down = column(), order = header.getAttribute("aria-sort");
  header.firstElementChild.click();
  return { tag: header.firstElementChild.tagName, down, order, up: column(), back: header.getAttribute("aria-sort") };
}"""


@pytest.fixture
def page(tmp_path, monkeypatch) -> str:
    return render(streets(tmp_path, monkeypatch))


@pytest.mark.parametrize("width", [420, 1440])
def test_speed_metric_and_difference_are_seen_without_scrolling_sideways(page, width, tmp_path):
    found = seen(page, width, LOOK, tmp_path)
    assert found["over"] == 0
    assert found["cells"] >= 5, "name, time, speed-up, metric and its change"
    assert found["pictures"] == 4, "the difference of each example"
    assert found["drawings"] == 1 and found["labels"] == 4 and found["covered"] == 0
    assert found["buttons"] == page.count("data-copy=")


def test_a_click_on_a_title_sorts_the_layers(page, tmp_path):
    found = seen(page, 1440, SORT, tmp_path)
    assert found["tag"] == "BUTTON" and (found["order"], found["back"]) == ("descending", "ascending")
    numbers = [[float(text) for text in found[order] if text] for order in ("down", "up")]
    assert len(numbers[0]) > 40 and numbers[0] == sorted(numbers[0], reverse=True)
    assert numbers[1] == sorted(numbers[0]) and found["up"][-1] == "", "empty cells stay last"


def test_a_broken_script_would_be_noticed(page, tmp_path):
    _, console = opened(page.replace('querySelectorAll("table[data-sort]")', "tablesThatSort()"), tmp_path)
    assert len(console) == 1
