from deploy.placement.rules.conv_bn_act import RULE
from tests.rules.notation import net, quantized, whys
from tests.rules.test_bias import EVERYTHING


def test_nothing_inside_conv_bn_relu():
    graph = net("c = Conv(x, w)\nn = BatchNormalization(c)\nr = Relu(n)\ny = Conv(r, w2)", "y")
    assert quantized(graph, *EVERYTHING, RULE) == {("x", "c"), ("w", "c"), ("r", "y"), ("w2", "y")}
    assert set(whys(graph, RULE)) == {"n", "r"}


def test_look_alike_second_reader_needs_the_bare_output():
    graph = net("c = Conv(x, w)\nr = Relu(c)\ny = Add(c, r)", "y")
    assert ("c", "r") in quantized(graph, *EVERYTHING, RULE)


def test_look_alike_graph_output_needs_the_bare_output():
    graph = net("c = Conv(x, w)\nr = Relu(c)", "c r")
    assert ("c", "r") in quantized(graph, *EVERYTHING, RULE)


def test_look_alike_batch_norm_that_no_convolution_feeds():
    graph = net("p = AveragePool(x)\nn = BatchNormalization(p)", "n")
    assert ("p", "n") in quantized(graph, *EVERYTHING, RULE)


def test_look_alike_batch_norm_behind_the_activation_is_not_folded():
    graph = net("c = Conv(x, w)\nr = Relu(c)\nn = BatchNormalization(r)", "n")
    assert ("r", "n") in quantized(graph, *EVERYTHING, RULE) and ("c", "r") not in quantized(graph, *EVERYTHING, RULE)
