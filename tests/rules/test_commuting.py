import pytest

from deploy.placement.rules.commuting import RULE
from deploy.placement.rules.residual_add import RULE as RESIDUAL
from deploy.placement.rules.resize import RULE as RESIZE
from deploy.placement.rules.weighted import RULE as WEIGHTED
from tests.rules.notation import groups, net, quantized, whys


@pytest.mark.parametrize("kind", ["MaxPool", "Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze", "Identity"])
def test_the_pair_moves_in_front(kind):
    graph = net(f"p = {kind}(x)\ny = Conv(p, w)", "y")
    assert quantized(graph, WEIGHTED, RULE) == {("x", "p")}
    assert groups(graph, WEIGHTED, RULE) == (("p", "x"),)


def test_a_nearest_resize_is_a_copy():
    graph = net("p = Resize(x)\ny = Conv(p, w)", "y", p={"mode": "nearest"})
    assert quantized(graph, WEIGHTED, RULE) == {("x", "p")}


def test_the_pair_moves_past_a_chain():
    graph = net("p = MaxPool(x)\nq = Transpose(p)\ny = Conv(q, w)", "y")
    assert quantized(graph, WEIGHTED, RULE) == {("x", "p")}


def test_two_readers_that_both_want_int8_are_served_by_one_pair():
    graph = net("p = MaxPool(x)\nc = Conv(p, w)\nd = Conv(c, w2)\ny = Add(d, p)", "y")
    assert quantized(graph, WEIGHTED, RESIDUAL, RULE) == {("x", "p"), ("c", "d")}


def test_the_pair_in_front_is_shared_with_other_readers():
    graph = net("p = MaxPool(x)\nc = Conv(p, w)\nd = Conv(x, w2)", "c d")
    assert quantized(graph, WEIGHTED, RULE) == {("x", "p"), ("x", "d")}


@pytest.mark.parametrize(
    ("text", "outputs", "why"),
    [
        ("p = MaxPool(x)\ny = Conv(p, w)\nz = Sigmoid(p)", "y z", "its result is also needed in float"),
        ("p = MaxPool(x)\ny = Conv(p, w)", "p y", "its result is also needed in float"),
        ("p = MaxPool(x)\ny = Sigmoid(p)", "y", "nobody wants its result in INT8"),
        ("p = Reshape(c_table)\ny = Sigmoid(p)", "y", "the input is constant; the op folds away"),
    ],
)
def test_skips_say_why(text, outputs, why):
    graph = net(text, outputs)
    assert ("x", "p") not in quantized(graph, WEIGHTED, RULE)
    assert whys(graph, WEIGHTED, RULE)["p"] == why


def test_a_kept_input_stops_the_move():
    graph = net("u = Resize(x)\np = MaxPool(u)\ny = Conv(p, w)", "y", u={"mode": "linear"})
    assert quantized(graph, WEIGHTED, RULE, RESIZE) == {("u", "p")}


@pytest.mark.parametrize("kind", ["AveragePool", "Resize", "Relu", "Concat"])
def test_look_alikes_are_untouched(kind):
    graph = net(f"p = {kind}(x)\ny = Conv(p, w)", "y", p={"mode": "linear"})
    assert quantized(graph, WEIGHTED, RULE) == {("p", "y")}
