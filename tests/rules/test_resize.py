import pytest

from deploy.placement.rules.average_pool import RULE as AVERAGE
from deploy.placement.rules.resize import RULE
from deploy.placement.rules.weighted import RULE as WEIGHTED
from tests.rules.notation import net, quantized, whys
from tests.rules.test_bias import EVERYTHING

WHY = "an interpolating Resize is quantized behind it, where its reader wants INT8"


@pytest.mark.parametrize("mode", ["linear", "bilinear", "cubic"])
def test_quantized_behind_never_before(mode):
    graph = net("u = Resize(x)\ny = Conv(u, w)", "y", u={"mode": mode})
    assert quantized(graph, *EVERYTHING, RULE) == {("u", "y"), ("w", "y")}
    assert quantized(graph, WEIGHTED, RULE) == {("u", "y")}
    assert whys(graph, RULE) == {"u": WHY}


def test_wins_over_a_pool_that_wants_its_output_quantized():
    graph = net("p = AveragePool(x)\ny = Resize(p)", "y", y={"mode": "linear"})
    assert quantized(graph, AVERAGE, RULE) == set()


def test_look_alike_nearest_is_untouched():
    graph = net("u = Resize(x)\ny = Conv(u, w)", "y", u={"mode": "nearest"})
    assert ("x", "u") in quantized(graph, *EVERYTHING, RULE) and whys(graph, RULE) == {}
