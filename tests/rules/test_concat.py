import pytest

from deploy.placement.decide import placement
from deploy.placement.rules.concat import RULE
from deploy.placement.rules.gates import RULE as GATES
from deploy.placement.rules.weighted import RULE as WEIGHTED
from tests.rules.notation import groups, net, quantized, whys


def test_inputs_and_output_are_quantized_with_one_scale():
    graph = net("j = Concat(x, z)\ny = Conv(j, w)", "y")
    assert quantized(graph, WEIGHTED, RULE) == {("x", "j"), ("z", "j"), ("j", "y")}
    assert groups(graph, WEIGHTED, RULE) == (("j", "x", "z"),)


def test_a_chain_of_concats_is_one_group():
    graph = net("j = Concat(x, z)\nk = Concat(j, v)\ny = Conv(k, w)", "y")
    assert groups(graph, WEIGHTED, RULE) == (("j", "k", "v", "x", "z"),)


def test_groups_that_share_an_input_are_one():
    graph = net("j = Concat(x, z)\nk = Concat(x, v)\np = Conv(j, w)\ny = Conv(k, w2)", "p y")
    assert groups(graph, WEIGHTED, RULE) == (("j", "k", "v", "x", "z"),)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("j = Concat(x, c_one)\ny = Conv(j, w)", "one input is constant"),
        ("j = Concat(x, z)\ny = Sigmoid(j)", "nobody wants its result in INT8"),
    ],
)
def test_skips_say_why(text, why):
    graph = net(text, "y")
    assert not any(reader == "j" for _, reader in quantized(graph, WEIGHTED, RULE))
    assert whys(graph, WEIGHTED, RULE)["j"] == why
    assert groups(graph, WEIGHTED, RULE) == ()


def test_an_input_without_a_trained_scale_leaves_all_of_them_float():
    graph = net("j = Concat(x, z)\ny = Conv(j, w)", "y")
    result = placement(graph, (WEIGHTED, RULE), steps=dict.fromkeys("xjw", 1.0))
    assert [item.edge.tensor for item in result.edges] == ["j"] and result.groups == ()
    assert [skip.why for skip in result.skips] == ["concat: no trained scale for z"]


@pytest.mark.parametrize(("step", "fires"), [(4.0, True), (4.1, False), (0.2, False)])
def test_trained_scales_far_apart_are_not_tied(step, fires):
    graph = net("j = Concat(x, z)\ny = Conv(j, w)", "y")
    result = placement(graph, (WEIGHTED, RULE), steps={"x": 1.0, "j": 1.0, "w": 1.0, "z": step})
    assert bool(result.groups) == fires
    assert [skip.why.partition(":")[0] for skip in result.skips] == ([] if fires else ["concat"])


def test_look_alike_add_shares_no_scale():
    graph = net("j = Add(x, z)\ny = Conv(j, w)", "y")
    assert groups(graph, WEIGHTED, RULE, GATES) == ()
