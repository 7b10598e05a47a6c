from deploy.placement.rules.products import RULE
from deploy.placement.rules.weighted import RULE as WEIGHTED
from tests.rules.notation import net, quantized, whys


def test_both_operands_of_attention_s_products_are_quantized():
    graph = net("s = MatMul(q, k)\np = Softmax(s)\ny = MatMul(p, v)", "y")
    assert quantized(graph, RULE) == {("q", "s"), ("k", "s"), ("p", "y"), ("v", "y")}


def test_look_alike_linear_layer_belongs_to_the_weighted_operators():
    graph = net("y = MatMul(x, w)", "y", {"w": (8, 4)})
    assert quantized(graph, RULE) == set() and whys(graph, RULE) == {}
    assert quantized(graph, WEIGHTED) == {("x", "y")}
