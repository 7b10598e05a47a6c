import pytest

from deploy.placement.decide import placement
from deploy.placement.rules.small_groups import RULE
from deploy.placement.rules.weighted import RULE as WEIGHTED
from tests.rules.notation import net, quantized, whys


@pytest.mark.parametrize(
    ("weight", "groups", "why"),
    [
        ((32, 1, 3, 3), 32, "1 channels in and 1 out per group: no multiple of 4"),
        ((32, 6, 3, 3), 4, "6 channels in and 8 out per group: no multiple of 4"),
        ((24, 8, 3, 3), 4, "8 channels in and 6 out per group: no multiple of 4"),
    ],
)
def test_narrow_groups_stay_float_in_both_operands(weight, groups, why):
    graph = net("y = Conv(x, w)", "y", {"w": weight}, y={"groups": groups})
    assert quantized(graph, WEIGHTED, RULE) == set()
    assert placement(graph, (WEIGHTED, RULE)).weights == ()
    assert whys(graph, RULE) == {"y": why}


@pytest.mark.parametrize(
    ("weight", "groups"), [((384, 96, 3, 3), 4), ((32, 3, 3, 3), 1)], ids=["pidnet scale_process", "first layer"]
)
def test_look_alikes_stay_int8(weight, groups):
    graph = net("y = Conv(x, w)", "y", {"w": weight}, y={"groups": groups})
    assert quantized(graph, WEIGHTED, RULE) == {("x", "y")} and whys(graph, RULE) == {}


def test_computed_weight_is_another_rules_matter():
    assert whys(net("y = Conv(x, v)", "y", y={"groups": 4}), RULE) == {}
