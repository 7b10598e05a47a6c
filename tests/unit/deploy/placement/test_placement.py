import pytest

from core.errors import UserError
from deploy.placement.decide import module_path, placement
from deploy.placement.rule_sets import select
from deploy.placement.rules import RULES
from tests.rules.notation import net, quantized, whys

BLOCK = """
a = Conv(x, w1, b1)
r = Relu(a)
c = Conv(r, w2, b2)
s = Add(c, x)
y = Conv(s, w3, b3)
"""


def test_all_uses_of_a_tensor_share_one_pair():
    by_tensor = placement(net(BLOCK, "y"), RULES).by_tensor
    assert [edge.node for edge in by_tensor["x"]] == ["a", "s"]


def test_outputs_and_biases_are_never_quantized():
    result = placement(net(BLOCK, "y"), RULES)
    assert "y" not in result.by_tensor
    assert not any(tensor.startswith("b") for tensor in result.by_tensor)


def test_skip_pattern_leaves_the_node_float_and_says_so():
    graph = net(BLOCK, "y")
    result = placement(graph, RULES, skip=("c",))
    assert all(item.edge.node != "c" for item in result.edges)
    assert all(item.use.node != "c" for item in result.weights)
    assert any(item.node == "c" and item.rule == "config" for item in result.skips)


def test_disabled_rule_does_not_fire():
    assert ("x", "s") not in quantized(net(BLOCK, "y"), *select(disable=["residual-add"]))


def test_unknown_rule_name_is_refused():
    with pytest.raises(UserError, match="residual_add"):
        select(disable=["residual_add"])


def test_every_rule_has_reason_source_and_unique_name():
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.reason and rule.source for rule in RULES)


def test_placement_is_deterministic():
    graph = net(BLOCK, "y")
    assert placement(graph, RULES) == placement(graph, RULES)
    assert whys(graph, *RULES)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/layer1/0/conv1/Conv", "layer1.0.conv1"),
        ("/layer1/layer1.0/conv1/Conv", "layer1.0.conv1"),
        ("layer1.0.conv1", "layer1.0.conv1"),
        ("/Add_3", "/Add_3"),
    ],
)
def test_module_path(name, path):
    assert module_path(name) == path
