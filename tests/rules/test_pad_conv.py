import pytest

from deploy.placement.rules.pad_conv import RULE
from deploy.placement.rules.weighted import RULE as WEIGHTED
from tests.rules.notation import net, quantized, whys

TEXT = "p = Pad(x)\ny = Conv(p, w)"


@pytest.mark.parametrize("attrs", [{"mode": "constant", "pad_value": 0.0}, {"mode": "reflect"}, {"mode": "edge"}])
def test_nothing_between_pad_and_conv(attrs):
    assert quantized(net(TEXT, "y", p=attrs), WEIGHTED, RULE) == {("x", "p")}


@pytest.mark.parametrize("value", [1.0, -0.5, None])
def test_look_alike_other_padding_values_stay_behind_the_pad(value):
    graph = net(TEXT, "y", p={"mode": "constant", "pad_value": value})
    assert quantized(graph, WEIGHTED, RULE) == {("p", "y")}
    assert whys(graph, WEIGHTED, RULE)["p"] == "pads with a value that may not be a quantization step"


def test_a_float_reader_of_the_padded_tensor_keeps_the_pair_behind():
    graph = net(TEXT + "\nz = Sigmoid(p)", "y z", p={"pad_value": 0.0})
    assert quantized(graph, WEIGHTED, RULE) == {("p", "y")}
    assert whys(graph, WEIGHTED, RULE)["p"] == "its result is also needed in float"
