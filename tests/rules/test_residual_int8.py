import pytest

from deploy.placement.rules import residual_add, weighted
from deploy.placement.rules.residual_int8 import RULE
from tests.rules.notation import net, quantized, whys

TWO = "s = Conv(x, ws)\na = Conv(x, w)\nr = Relu(a)\nc = Conv(r, w2)\ny = Add(c, s)\n"
BEHIND = ["z = Conv(y, w3)", "t = Relu(y)\nz = Conv(t, w3)", "n = BatchNormalization(y)\nt = Relu(n)\nz = Conv(t, w3)"]


@pytest.mark.parametrize("behind", BEHIND)
def test_a_shortcut_of_a_sum_that_is_read_in_int8_is_quantized(behind):
    graph = net(TWO + behind, "z")
    assert ("s", "y") in quantized(graph, RULE, weighted.RULE)


@pytest.mark.parametrize("behind", ["z = Sigmoid(y)", "t = Relu(y)\nz = Resize(t)", "z = Mul(y, g)"])
def test_a_shortcut_of_a_sum_that_is_read_in_float_stays(behind):
    graph = net(TWO + behind, "z")
    assert ("s", "y") not in quantized(graph, RULE, weighted.RULE)
    assert ("s", "y") in quantized(graph, residual_add.RULE, weighted.RULE)
    assert whys(graph, RULE)["y"] == "nobody wants its result in INT8"


def test_one_reader_in_int8_is_enough():
    graph = net(TWO + "p = Sigmoid(y)\nq = Conv(y, w3)\nz = Mul(p, q)", "z")
    assert ("s", "y") in quantized(graph, RULE, weighted.RULE)


@pytest.mark.parametrize("behind", ["z = Sigmoid(y)", "z = Conv(y, w3)"])
def test_an_identity_shortcut_is_quantized_either_way(behind):
    graph = net("a = Conv(x, w)\nr = Relu(a)\nc = Conv(r, w2)\ny = Add(c, x)\n" + behind, "z")
    assert ("x", "y") in quantized(graph, RULE, weighted.RULE)


def test_skips_are_those_of_residual_add():
    graph = net("p = Mul(x, g)\ny = Add(p, x)", "y")
    assert whys(graph, RULE)["y"] == whys(graph, residual_add.RULE)["y"]
