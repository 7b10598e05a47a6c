import pytest

from deploy.placement.decide import placement
from deploy.placement.rules import weighted
from deploy.placement.rules.base import Match
from deploy.placement.rules.integer_pointwise import KERNELS, RULE
from tests.rules.notation import net, quantized, whys


def test_pairs_on_all_sides_of_an_add():
    graph = net("s = Add(x, y)\nt = Tanh(s)\nu = Tanh(s)", "t u")
    assert quantized(graph, RULE) == {("x", "s"), ("y", "s"), ("s", "t"), ("s", "u")}


@pytest.mark.parametrize("kind", sorted(KERNELS - {"Conv", "Gemm", "Resize"}))
def test_every_kernel_with_two_operands(kind):
    graph = net(f"s = {kind}(x, y)\nt = Tanh(s)", "t")
    assert quantized(graph, RULE) == {("x", "s"), ("y", "s"), ("s", "t")}


def test_only_the_activation_of_an_op_with_parameters():
    graph = net("s = Resize(x, w)\nt = Tanh(s)", "t")
    assert quantized(graph, RULE) == {("x", "s"), ("s", "t")}


@pytest.mark.parametrize("kind", ["Conv", "Gemm"])
def test_what_an_op_with_weights_reads_is_left_to_the_rule_that_knows_its_weight(kind):
    graph = net(f"a = Add(x, y)\ns = {kind}(a, w)\nt = Tanh(s)", "t")
    assert quantized(graph, RULE) == {("x", "a"), ("y", "a"), ("s", "t")}
    assert ("a", "s") in quantized(graph, weighted.RULE, RULE)


@pytest.mark.parametrize("kind", ["Conv", "Gemm"])
def test_an_op_whose_weight_has_no_scale_is_not_half_quantized(kind):
    graph = net(f"a = Add(x, y)\ns = {kind}(a, w)\nt = Tanh(s)", "t")
    found = placement(graph, (weighted.RULE, RULE), steps=dict.fromkeys("xyast", 1.0))
    assert {item.edge.node for item in found.edges} == {"a", "t"} and not found.weights


def test_nothing_between_an_op_and_its_activation():
    graph = net("s = Conv(x, w)\nr = Relu(s)\nt = Tanh(r)", "t")
    assert quantized(graph, RULE) == {("r", "t")}


def test_skip_result_is_a_graph_output():
    graph = net("s = Add(x, y)", "s")
    assert quantized(graph, RULE) == set()
    assert whys(graph, RULE) == {"s": "its result is a graph output and stays float"}
    assert whys(net("s = Conv(x, w)\nr = Relu(s)", "r"), RULE) == {"s": "its result is a graph output and stays float"}


def test_skip_constant_operand():
    assert whys(net("s = Add(x, c_1)\nt = Tanh(s)", "t"), RULE) == {"s": "one operand is constant"}


def test_look_alike_without_an_integer_kernel_is_untouched():
    graph = net("s = Sub(x, y)\nt = Tanh(s)", "t")
    assert quantized(graph, RULE) == set() and whys(graph, RULE) == {}


def test_the_verdict_is_all_or_nothing():
    graph = net("s = Add(x, y)\nt = Tanh(s)", "t")
    verdict = RULE.match(graph, graph.node("s"))
    assert isinstance(verdict, Match) and len(verdict.edges) == 3 and not verdict.ties
