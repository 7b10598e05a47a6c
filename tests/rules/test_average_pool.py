import pytest

from deploy.placement.rules.average_pool import RULE
from deploy.placement.rules.commuting import RULE as COMMUTING
from deploy.placement.rules.gates import RULE as GATES
from deploy.placement.rules.weighted import RULE as WEIGHTED
from tests.rules.notation import net, quantized, whys


@pytest.mark.parametrize("kind", ["AveragePool", "GlobalAveragePool"])
def test_input_and_output_are_quantized(kind):
    assert quantized(net(f"p = {kind}(x)\ny = Relu(p)", "y"), RULE) == {("x", "p"), ("p", "y")}


def test_classifier_tail():
    graph = net("p = GlobalAveragePool(x)\nf = Reshape(p)\ny = Gemm(f, w)", "y")
    assert quantized(graph, WEIGHTED, RULE, COMMUTING) == {("x", "p"), ("p", "f")}


def test_skip_at_a_graph_output():
    graph = net("y = AveragePool(x)", "y")
    assert quantized(graph, RULE) == set()
    assert whys(graph, RULE) == {"y": "its result is a graph output and stays float"}


def test_skip_before_a_reader_that_stays_float():
    graph = net("p = GlobalAveragePool(x)\ny = Mul(p, x)", "y")
    assert quantized(graph, RULE, GATES) == set()
    assert whys(graph, RULE, GATES)["p"] == "input 0 of y stays float"


def test_look_alike_max_pool_is_untouched():
    graph = net("p = MaxPool(x)\ny = Relu(p)", "y")
    assert quantized(graph, RULE) == set() and whys(graph, RULE) == {}
