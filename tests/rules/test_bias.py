from deploy.graph.opgraph import Edge
from deploy.placement.rules.base import Match, Rule
from deploy.placement.rules.bias import RULE
from tests.rules.notation import net, quantized, whys


def quantize_input(index):
    return Rule(
        f"input-{index}",
        "",
        "",
        lambda _, node: Match((Edge(node.inputs[index], node.name, index),)) if index < len(node.inputs) else None,
    )


EVERYTHING = tuple(quantize_input(index) for index in range(3))


def test_wins_over_a_rule_that_quantizes_everything():
    graph = net("y = Conv(x, w, b)", "y")
    assert quantized(graph, *EVERYTHING, RULE) == {("x", "y"), ("w", "y")}
    assert quantized(graph, RULE, *EVERYTHING) == {("x", "y"), ("w", "y")}, "order must not matter"
    assert whys(graph, RULE) == {"y": "bias stays float"}


def test_op_without_bias_is_not_mentioned():
    assert whys(net("y = Conv(x, w)", "y"), RULE) == {}


def test_look_alike_add_of_a_constant_is_untouched():
    graph = net("y = Add(x, b)", "y")
    assert quantized(graph, *EVERYTHING, RULE) == {("x", "y"), ("b", "y")}
