"""core/page: labels that do not overlap, axes, and the script that all pages share."""

import random
from itertools import combinations
from pathlib import Path

import pytest

import core.page
from core.page.axis import Axis, axis_over
from core.page.labels import Box, place
from core.page.plot import WIDTHS, Layout, Mark, Plot

FOLDER = Path(core.page.__file__).parent


def plot(points: list[tuple[float, float]], label: str = "ONNX Runtime INT8", **ends: tuple[float, float]) -> Plot:
    marks = [Mark(x, y, f"{label} {index}", "int8", **ends) for index, (x, y) in enumerate(points)]
    return Plot("time against score", "ms", "%", Axis(0, 50), Axis(0, 100), marks)


def assert_no_label_lies_over_anything(layout: Layout) -> None:
    drawn = layout.drawn()
    boxes = [each.label for each in drawn if each.label is not None]
    marks = [Box(each.x - 8, each.y - 8, each.x + 8, each.y + 8) for each in drawn]
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    assert not [box for box in boxes for mark in marks if box.overlaps(mark)]
    assert all(box.within(layout.frame) for box in boxes)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("spread", [0.0, 0.5, 5.0, 40.0])
def test_labels_never_overlap_however_close_the_points_are(width: str, spread: float) -> None:
    numbers = random.Random(3)
    for count in (1, 2, 9):
        middle = numbers.uniform(0, 50), numbers.uniform(0, 100)
        points = [(middle[0] + numbers.gauss(0, spread), middle[1] + numbers.gauss(0, spread)) for _ in range(count)]
        layout = plot(points).layouts()[width]
        assert_no_label_lies_over_anything(layout)
        assert all(each.label for each in layout.drawn()), "nine engines have room for their names"


def test_a_label_stands_beside_its_point_where_nothing_is_in_the_way() -> None:
    layout = plot([(10, 50)]).layouts()["wide"]
    (only,) = layout.drawn()
    assert only.anchor == ("start", only.x + 10) and only.leader is None
    (right,) = plot([(50, 50)]).layouts()["wide"].drawn()
    assert right.anchor[0] == "end", "at the right edge it stands on the left"


def test_a_label_that_is_far_has_a_line_to_its_point() -> None:
    drawn = plot([(25, 50)] * 6).layouts()["narrow"].drawn()
    assert any(each.leader for each in drawn)
    for each in drawn:
        if each.leader:
            assert each.label.left <= each.leader[0] <= each.label.right


def test_labels_leave_whiskers_alone() -> None:
    (only,) = plot([(25, 50)], x_ends=(20, 30)).layouts()["wide"].drawn()
    assert not only.label.top < only.y < only.label.bottom


@pytest.mark.parametrize("width", WIDTHS)
def test_names_of_lines_stand_beside_the_frame(width: str) -> None:
    marks = [Mark(50, 50 + near, f"ONNX Runtime INT8 {near}", "int8") for near in range(4)]
    layout = Plot("", "", "", Axis(0, 50), Axis(0, 100), marks, beside=True).layouts()[width]
    boxes = [each.label for each in layout.drawn()]
    assert all(box.left > layout.frame.right and box.right <= layout.width for box in boxes)
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]


def test_a_full_frame_leaves_labels_out_rather_than_over_others() -> None:
    boxes = place([(50, 40)] * 9, ["a long label"] * 9, Box(0, 0, 120, 80))
    assert None in boxes and any(boxes)
    assert place([(5, 5)], [""], Box(0, 0, 100, 100)) == [None]


def test_the_alternative_text_names_every_point() -> None:
    assert plot([(1, 2), (3, 4)]).alt == "time against score. ONNX Runtime INT8 0; ONNX Runtime INT8 1"


def test_axes_map_values_to_percent() -> None:
    assert Axis(0, 10)(2.5) == 25 and Axis(0, 10)(99) == 100
    assert Axis(1, 16, at=(1, 4, 16), log=True)(4) == 50 and Axis(1, 16, at=(1, 4, 16), log=True).ticks() == (1, 4, 16)
    assert axis_over([]) == Axis(0.0, 1.0) and list(Axis(0, 1).ticks(5)) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])


def test_style_and_script_load_nothing() -> None:
    text = "".join((FOLDER / name).read_text() for name in ("page.css", "page.js", "charts.html.j2"))
    assert "http" not in text and "url(" not in text and "@import" not in text and "fetch(" not in text


def test_headers_sort_by_button_and_say_so() -> None:
    script = (FOLDER / "page.js").read_text()
    assert 'querySelectorAll("table[data-sort]")' in script and 'createElement("button")' in script
    assert 'setAttribute("aria-sort", order)' in script and "beforeprint" in script
