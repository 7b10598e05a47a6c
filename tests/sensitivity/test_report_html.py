from __future__ import annotations

import re
from dataclasses import replace

import torch
from torch import nn

from deploy.profiles import select
from qat import fx_graph
from qat.insert import insert
from qat.sensitivity.distributions import BINS, distributions
from qat.sensitivity.latency_table import Milliseconds
from qat.sensitivity.pareto import Point
from qat.sensitivity.report_html import render
from qat.sensitivity.types import Measured, Unit
from tests.sensitivity.test_results import findings

POINTS = (
    Point((), Milliseconds(10, 9.9, 10.1), Measured(0.33, 0.3, 0.36, 16), False, 0.0, 0.33, on_front=True),
    Point(("body.0",), Milliseconds(11, 10.9, 11.1), Measured(0.03, 0.02, 0.04, 16), True, 1.1, 0.03, on_front=True),
)


def test_the_page_needs_no_network_and_tells_the_verdict() -> None:
    page = render(findings(), POINTS)
    assert not re.search(r"(?:src|href)\s*=|@import|url\(", page)
    assert "tolerance met" in page and "- body.0" in page and "python sensitivity_analysis.py" in page
    assert page.count("not told apart") == 2
    assert page.count("<circle") == 2 and page.count('class="picked"') == 1


def test_every_exact_unit_has_a_bar_with_its_interval() -> None:
    page = render(findings())
    assert "body.0: 0.3 [0.25, 0.35]" in page and 'class="float"' in page


def test_classes_are_compared_with_float() -> None:
    per_class = {"float": {"road": 90.0, "sky": None}, "quantized": {"road": 88.5, "sky": None}}
    page = render(replace(findings(), per_class=per_class))
    assert "everything quantized" in page and "road: -1.5" in page and "sky" not in page


def test_a_missed_tolerance_is_said() -> None:
    assert 'class="verdict no"' in render(findings(tolerance=-1.0))


def test_distributions_count_what_the_quantizers_see() -> None:
    image = torch.linspace(-1, 1, 3 * 64).reshape(1, 3, 8, 8)
    model = fx_graph.trace(nn.Sequential(nn.Conv2d(3, 4, 3)), image)
    insert(model, select())
    model.get_submodule("quantizers.input_1").set_amax(0.5, "test")  # type: ignore[operator]
    unit = Unit("0", ("quantizers.input_1", "0.weight_quantizer"), "both", ("0",))
    activation, weight = distributions(model, image, [unit])
    assert activation["low"] == -1 and len(activation["shares"]) == BINS
    assert abs(sum(activation["shares"]) - 1) < 1e-6 and abs(activation["clipped"] - 0.5) < 0.02
    assert weight["clipped"] == 0 and weight["unit"] == "0"
    assert 'class="limit"' in render(replace(findings(), histograms=[activation, weight]))
