import pytest

from deploy.placement.rules.pre_activation_bn import RULE
from tests.rules.notation import net, quantized, whys


@pytest.mark.parametrize("activation", ["Relu", "Clip"])
def test_fires_before_batch_norm_activation_conv(activation):
    graph = net(f"p = Add(x, z)\nn = BatchNormalization(p)\nr = {activation}(n)\ny = Conv(r, w)", "y")
    assert quantized(graph, RULE) == {("p", "n")}


def test_fires_without_an_activation():
    assert quantized(net("n = BatchNormalization(x)\ny = Conv(n, w)", "y"), RULE) == {("x", "n")}


def test_fires_behind_a_convolution_that_somebody_else_reads_too():
    graph = net("c = Conv(x, w)\nn = BatchNormalization(c)\nd = Conv(n, w2)\ny = Add(d, c)", "y")
    assert quantized(graph, RULE) == {("c", "n")}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("c = Conv(x, w)\nn = BatchNormalization(c)\ny = Conv(n, w2)", "folded into the convolution before it"),
        ("n = BatchNormalization(x)\ny = Sigmoid(n)", "no INT8 layer reads its result"),
        ("n = BatchNormalization(x)\nm = Mul(n, z)\ny = Conv(m, w)", "no INT8 layer reads its result"),
    ],
)
def test_skips_say_why(text, why):
    graph = net(text, "y")
    assert quantized(graph, RULE) == set() and whys(graph, RULE) == {"n": why}


def test_look_alike_relu_is_untouched():
    graph = net("r = Relu(x)\ny = Conv(r, w)", "y")
    assert quantized(graph, RULE) == set() and whys(graph, RULE) == {}
