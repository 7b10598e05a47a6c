import pytest

from deploy.placement.rules.residual_add import RULE
from tests.rules.notation import net, quantized, whys


def test_identity_shortcut_is_quantized_and_the_conv_branch_stays_bare():
    graph = net("a = Conv(x, w)\nr = Relu(a)\nc = Conv(r, w2)\ny = Add(c, x)", "y")
    assert quantized(graph, RULE) == {("x", "y")}


def test_input_order_does_not_matter():
    graph = net("a = Conv(x, w)\nr = Relu(a)\nc = Conv(r, w2)\ny = Add(x, c)", "y")
    assert quantized(graph, RULE) == {("x", "y")}


@pytest.mark.parametrize("inputs", ["c, s", "s, c"])
def test_of_two_conv_branches_the_shortcut_is_quantized(inputs):
    graph = net(f"s = Conv(x, ws)\na = Conv(x, w)\nr = Relu(a)\nc = Conv(r, w2)\ny = Add({inputs})", "y")
    assert quantized(graph, RULE) == {("s", "y")}


@pytest.mark.parametrize("inputs", ["c, s", "s, c"])
def test_a_weight_that_both_branches_share_is_no_ancestor(inputs):
    graph = net(f"s = Conv(x, w)\na = Conv(x, w2)\nr = Relu(a)\nc = Conv(r, w)\ny = Add({inputs})", "y")
    assert quantized(graph, RULE) == {("s", "y")}


@pytest.mark.parametrize("inputs", ["c, s", "s, c"])
def test_the_distance_is_that_of_the_shortest_way(inputs):
    short = "a = Relu(x)\nb = Relu(a)\nm = Add(b, x)\nc = Conv(m, w)"  # 2 operators from x, or 4 through a
    graph = net(f"{short}\np = Relu(x)\nq = Relu(p)\ns = Conv(q, w2)\ny = Add({inputs})", "y")
    assert {edge for edge in quantized(graph, RULE) if edge[1] == "y"} == {("c", "y")}


def test_conv_branch_may_end_in_batch_norm_and_activation():
    graph = net("c = Conv(x, w)\nn = BatchNormalization(c)\nr = Relu(n)\ny = Add(r, x)", "y")
    assert quantized(graph, RULE) == {("x", "y")}


def test_two_inputs_without_common_ancestor_quantize_one_of_them():
    graph = net("p = Conv(x, w)\nq = Conv(z, w2)\ny = Add(p, q)", "y")
    assert len(quantized(graph, RULE)) == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("y = Add(x, c_one)", "one input is constant"),
        ("p = Mul(x, g)\ny = Add(p, x)", "no convolution branch to fuse into: pointwise stays float"),
        (
            "c = Conv(x, w)\nz = Relu(c)\nt = Sigmoid(c)\ny = Add(z, t)",
            "no convolution branch to fuse into: pointwise stays float",
        ),
    ],
)
def test_skips_say_why(text, why):
    graph = net(text, "y")
    assert quantized(graph, RULE) == set()
    assert whys(graph, RULE)["y"] == why


def test_look_alike_convolution_with_a_second_reader_is_no_branch():
    graph = net("c = Conv(x, w)\ns = Conv(x, ws)\ny = Add(c, s)\nz = Relu(c)", "y z")
    assert quantized(graph, RULE) == {("c", "y")}


def test_look_alike_mul_is_untouched():
    graph = net("c = Conv(x, w)\ny = Mul(c, x)", "y")
    assert quantized(graph, RULE) == set() and whys(graph, RULE) == {}
