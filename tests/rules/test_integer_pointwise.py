import pytest

from deploy.rules.base import Match
from deploy.rules.integer_pointwise import KERNELS, RULE
from tests.rules.notation import net, quantized, whys


def test_pairs_on_all_sides_of_an_add():
    graph = net("s = Add(x, y)\nt = Tanh(s)\nu = Tanh(s)", "t u")
    assert quantized(graph, RULE) == {("x", "s"), ("y", "s"), ("s", "t"), ("s", "u")}


@pytest.mark.parametrize("kind", sorted(KERNELS - {"Conv", "Gemm", "Resize"}))
def test_every_kernel_with_two_operands(kind):
    graph = net(f"s = {kind}(x, y)\nt = Tanh(s)", "t")
    assert quantized(graph, RULE) == {("x", "s"), ("y", "s"), ("s", "t")}


@pytest.mark.parametrize("kind", ["Conv", "Gemm", "Resize"])
def test_only_the_activation_of_an_op_with_parameters(kind):
    graph = net(f"s = {kind}(x, w)\nt = Tanh(s)", "t")
    assert quantized(graph, RULE) == {("x", "s"), ("s", "t")}


def test_nothing_between_an_op_and_its_activation():
    graph = net("s = Conv(x, w)\nr = Relu(s)\nt = Tanh(r)", "t")
    assert quantized(graph, RULE) == {("x", "s"), ("r", "t")}


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
