import pytest

from deploy.placement.rules.gates import GATES, RULE
from tests.rules.notation import net, quantized, whys
from tests.rules.test_bias import EVERYTHING


@pytest.mark.parametrize("kind", sorted(GATES))
def test_pointwise_ops_stay_float(kind):
    graph = net(f"y = {kind}(x)", "y")
    assert quantized(graph, *EVERYTHING, RULE) == set()
    assert whys(graph, RULE) == {"y": "pointwise ops of a gate stay float"}


def test_squeeze_and_excitation_keeps_its_convolutions_int8():
    graph = net("c = Conv(x, w)\ns = Sigmoid(c)\nm = Mul(x, s)\ny = Conv(m, w2)", "y")
    assert quantized(graph, *EVERYTHING, RULE) == {("x", "c"), ("w", "c"), ("m", "y"), ("w2", "y")}


def test_look_alike_add_is_untouched():
    graph = net("c = Conv(x, w)\ny = Add(c, x)", "y")
    assert ("x", "y") in quantized(graph, *EVERYTHING, RULE) and whys(graph, RULE) == {}
