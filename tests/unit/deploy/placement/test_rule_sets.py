from pathlib import Path

import pytest

from core.config import PlacementConfig
from core.errors import UserError
from deploy.placement.rule_sets import RULE_SETS, rules_of, select
from deploy.placement.rules import OTHERS, RULES
from tests.rules.notation import net, quantized, whys

EXAMPLE = Path(__file__).parents[4] / "examples" / "custom_rule.py"
HEAD = "from deploy.placement.rules.base import Rule\n"


def names(rules):
    return [rule.name for rule in rules]


def test_the_default_rule_set_holds_every_rule():
    assert select() == RULES == RULE_SETS["tensorrt"]


@pytest.mark.parametrize("rule_set", RULE_SETS)
def test_rule_sets_are_subsets_that_keep_convolutions_int8_and_biases_float(rule_set):
    assert set(RULE_SETS[rule_set]) <= set(RULES + OTHERS)
    assert {"weighted-ops", "never-bias"} <= set(names(RULE_SETS[rule_set]))


def test_auto_trains_as_tensorrt_and_builds_as_the_engine_likes():
    assert rules_of(PlacementConfig()) == RULES
    assert rules_of(PlacementConfig(), "onnxruntime") == RULE_SETS["onnxruntime"]
    fixed = PlacementConfig(rule_set="openvino")
    assert rules_of(fixed) == rules_of(fixed, "onnxruntime") == RULE_SETS["openvino"]


def test_a_rule_outside_the_rule_set_may_be_named_in_disable():
    outside = next(rule.name for rule in RULES if rule not in RULE_SETS["openvino"])
    assert select("openvino", [outside]) == RULE_SETS["openvino"]


def test_unknown_rule_set_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="tensorflow") as caught:
        select("tensorflow")
    assert "did you mean tensorrt?" in caught.value.fix


def test_config_selects():
    chosen = rules_of(PlacementConfig(rule_set="openvino", custom=(EXAMPLE,), disable=("gates",)))
    assert names(chosen) == [n for n in names(RULE_SETS["openvino"]) if n != "gates"] + ["means"]


def test_the_example_rule_fires_and_can_be_disabled():
    graph = net("y = ReduceMean(x, c_axes)", "y")
    assert quantized(graph, *select(custom=[EXAMPLE])) == {("x", "y")}
    assert quantized(graph, *select(custom=[EXAMPLE], disable=["means"])) == set()


def test_the_example_rule_skips_constants():
    graph = net("y = ReduceMean(w, c_axes)", "y")
    assert quantized(graph, *select(custom=[EXAMPLE])) == set()
    assert whys(graph, *select(custom=[EXAMPLE])) == {"y": "the input is constant"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "defines no RULES"),
        ("RULES = ()", "defines no RULES"),
        ("RULES = [1]", "defines no RULES"),
        ("RULES = ('gates',)", "defines no RULES"),
        ("import no_such_module_here", "ModuleNotFoundError: No module named 'no_such_module_here'"),
        ("RULES = (", "SyntaxError"),
        (HEAD + "RULES = (Rule('gates', '', '', lambda g, n: None),)", "two placement rules are called gates"),
    ],
)
def test_a_file_without_usable_rules_is_refused(tmp_path, text, message):
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        select(custom=[tmp_path / "mine.py"])
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["absent.py", "rules.txt", "."])
def test_a_file_that_is_none_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="no Python file"):
        select(custom=[tmp_path / name])
