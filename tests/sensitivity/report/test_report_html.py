from __future__ import annotations

import re
from dataclasses import replace

import torch
from torch import nn

from core.page.plot import HEIGHT, WIDTHS
from deploy.placement.rule_sets import select
from qat.quantization.insert import insert
from qat.sensitivity.decide.pareto import Milliseconds, Point
from qat.sensitivity.report.class_names import named, names_note
from qat.sensitivity.report.distributions import BINS, distributions
from qat.sensitivity.report.report_html import render
from qat.sensitivity.types import GroupScore, Measured, QuantizerGroup, Ranking
from qat.tracing import fx_graph
from tests.sensitivity.report.findings import findings

POINTS = (
    Point((), Milliseconds(10, 9.9, 10.1), Measured(0.33, 0.3, 0.36, 16), False, 0.0, 0.33, on_front=True),
    Point(("body.0",), Milliseconds(11, 10.9, 11.1), Measured(0.03, 0.02, 0.04, 16), True, 1.1, 0.03, on_front=True),
)


def rows_in(page: str) -> list[tuple[str, str]]:
    """Names and numbers of all bars, in their order."""
    rows = re.findall(r'class="name">(.*?)</span>.*?class="value">(.*?)</span>', page)
    return [(name, value) for name, value in rows]


def test_the_page_needs_no_network_and_tells_the_verdict() -> None:
    page = render(replace(findings(), front=POINTS))
    assert not re.search(r"(?:src|href)\s*=|@import|url\(|fetch\(", page)
    assert "tolerance met" in page and "- body.0" in page and "python sensitivity_analysis.py" in page
    assert page.count('class="mark ') == 2 * len(WIDTHS) and page.count('class="mark float ring"') == len(WIDTHS)
    assert page.count('<tr class="picked">') == 1 and "chosen, within the tolerance, on the front" in page


def test_every_exact_group_has_a_bar_with_its_interval_the_most_harmful_first() -> None:
    found = findings()
    worse = GroupScore("head", {}, Measured(0.4, 0.1, 0.5, 8))
    page = render(replace(found, ranking=Ranking((*found.ranking.groups[::2], worse))))
    assert rows_in(page)[2:4] == [("head", "0.4 [0.1, 0.5]"), ("body.0", "0.3 [0.25, 0.35]")]
    assert 'class="bar float"' in page


def test_a_search_is_shown_step_by_step_from_everything_quantized() -> None:
    page = render(findings())
    assert rows_in(page)[:2] == [
        ("everything in INT8", "0.33 [0.32, 0.34]"),
        ("1. body.0 → float", "0.03 [0.02, 0.04]"),
    ]
    assert "1 step, " in page and 'class="limit"' in page
    assert "ended with another set" not in page
    chosen = replace(findings().chosen, float_groups=("head",))
    assert "ended with another set" in render(replace(findings(), chosen=chosen))


def test_what_float_costs_is_told_apart_from_noise() -> None:
    latency = {"head": Milliseconds(0.2, -0.1, 0.4), "body.0": Milliseconds(1.5, 1.2, 1.9)}
    page = render(replace(findings(), latency=latency))
    costs = [("body.0", "1.5 [1.2, 1.9]"), ("head", "0.2 [−0.1, 0.4]: noise")]
    rows = rows_in(page)
    assert rows[rows.index(costs[0]) :][:2] == costs
    assert "Cost of a group in float" not in render(findings())


def test_all_layers_of_a_group_are_listed() -> None:
    found = findings()
    joined = replace(found.groups[1], layers=("body.0", "cat", "a.conv", "b.conv"), tensors=("a.act", "b.act"))
    page = render(replace(found, groups=(found.groups[0], joined, found.groups[2])))
    assert ("body.0 +3", "0.3 [0.25, 0.35]") in rows_in(page)
    assert "<small>body.0, cat, a.conv, b.conv</small>" in page and "- b.conv" in page
    assert "<small>quantizes the output of a.act, b.act</small>" in page


def test_the_cost_is_told_beside_that_of_measuring_group_by_group() -> None:
    page = render(replace(findings(), ranking=replace(findings().ranking, full_evaluations=2.25)))
    assert "2.2 of 3" in page


def test_classes_that_lose_most_come_first_and_both_networks_share_a_scale() -> None:
    per_class = {
        "float": {"road": 90.0, "sky": None, "car": 50.0},
        "quantized": {"road": 88.5, "sky": None, "car": 46.0},
        "chosen": {"road": 89.5, "sky": None, "car": 50.5},
    }
    page = render(replace(findings(), per_class=per_class))
    rows = [row for row in rows_in(page) if row[0] in ("road", "sky", "car")]
    assert rows == [("car", "−4.00"), ("road", "−1.50"), ("car", "+0.50"), ("road", "−0.50")]
    drawn = page[page.index("Class by class") :]
    first, second = re.findall(r'<div class="ticks"[^>]*>(.*?)</div>', drawn)
    assert first == second


def test_a_list_of_names_that_does_not_fit_the_network_is_said_and_not_used() -> None:
    ious = {"0": 90.0, "1": None}
    assert named(ious, ("road", "car")) == {"road": 90.0, "car": None}
    assert named(ious, ()) == named(ious, ("road",)) == ious
    assert names_note({"float": ious}, ("road",)).startswith("get_class_names() gives 1 names and the network has 2")
    assert (
        names_note({"float": ious}, ("road", "car")) == names_note({"float": ious}, ()) == names_note({}, ("a",)) == ""
    )


def test_a_tolerance_far_from_the_points_does_not_push_them_together() -> None:
    far, near = (render(replace(findings(), front=POINTS, tolerance=limit)) for limit in (9.0, 0.1))
    assert "↑ tolerance 9" in far and "↑" not in near and "tolerance 0.1" in near
    heights = [float(y) for y in re.findall(r'class="mark [^>]*translate\([\d.]+ ([\d.]+)\)', far)]
    assert abs(heights[0] - heights[1]) > 0.4 * HEIGHT


def test_a_poor_analysis_still_makes_a_page() -> None:
    poor = findings(tolerance=-1.0)
    nothing = Measured(float("nan"), float("nan"), float("nan"), 8)
    scores = (GroupScore("stem", {}, Measured(0.1, 0.0, 0.2, 8)), GroupScore("head", {"kl": nothing}, nothing))
    base = replace(poor.baseline, float_metric=None, quantized_metric=None, metric="")
    page = render(replace(poor, ranking=Ranking(scores), baseline=base))
    assert rows_in(page)[0] == ("head", "not a number"), "the worst of all"
    assert "no set that was tried meets the tolerance" in page and 'id="skip"' not in page


def test_a_missed_tolerance_is_said() -> None:
    assert 'class="verdict no"' in render(findings(tolerance=-1.0))


def test_distributions_count_what_the_quantizers_see() -> None:
    image = torch.linspace(-1, 1, 3 * 64).reshape(1, 3, 8, 8)
    model = fx_graph.trace(nn.Sequential(nn.Conv2d(3, 4, 3)), image)
    insert(model, select())
    model.get_submodule("quantizers.input_1").set_amax(0.5, "test")  # type: ignore[operator]
    group = QuantizerGroup("0", ("quantizers.input_1", "0.weight_quantizer"), "both", ("0",))
    activation, weight = distributions(model, image, [group])
    assert activation["low"] == -1 and len(activation["shares"]) == BINS
    assert abs(sum(activation["shares"]) - 1) < 1e-6 and abs(activation["clipped"] - 0.5) < 0.02
    assert weight["clipped"] == 0 and weight["group"] == "0"
    page = render(replace(findings(), histograms=[activation, weight]))
    assert page.count('class="limit"') == 1 + 4 and "amax 0.5, " in page


def test_causes_are_listed_with_what_is_left_without_each() -> None:
    page = render(findings())
    assert "Why the worst groups suffer" in page and "channels 10&nbsp;%" in page and "max 90&nbsp;%" in page
