"""plan.json edited by hand: refused where it is wrong, and a deleted tensor is float in every target's graph."""

import json

import pytest

from core.errors import UserError
from deploy.apply.apply import apply
from deploy.apply.calibrate import complete
from deploy.apply.target import TargetConfig
from deploy.checks.write import write_verified
from deploy.graph import onnx_graph
from deploy.importing.import_plan import import_plan
from deploy.placement.rule_sets import select
from deploy.plan.plan import read_plan
from deploy.targets import TARGETS
from tests.nets.exported import image

GOALS = {name: TargetConfig(target, select(target.rule_set)) for name, target in TARGETS.items()}


@pytest.fixture(scope="module")
def network(exported, tmp_path_factory):
    """A float graph, its file, and its plan with a scale for everything that any target quantizes."""
    file = tmp_path_factory.mktemp("edits") / "float.onnx"
    graph, plan = import_plan(exported.qdq)
    onnx_graph.save(graph, file)
    return graph, file, complete(plan, graph, [image()], GOALS.values()).of_graph(file)


@pytest.fixture
def edited(network, tmp_path):
    """Write the plan with some of its JSON changed, and read it back."""
    _, file, plan = network

    def read(change):
        content = plan.to_json()
        change(content["tensors"])
        (tmp_path / "plan.json").write_text(json.dumps(content))
        return read_plan(tmp_path / "plan.json", file)

    return read


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scale": -0.1}, "finite and positive"),
        ({"scale": float("nan")}, "finite and positive"),
        ({"scale": float("inf")}, "finite and positive"),
        ({"scale": 1e39}, "finite and positive"),
        ({"scale": [], "axis": 0}, "finite and positive"),
        ({"scale": [0.1, 0.0], "axis": 0}, "finite and positive"),
        ({"scale": 0.1, "axis": 0}, "axis"),
        ({"origin": ""}, "origin"),
        ({"uses": [{"node": "stem", "input": -1, "rule": "r"}]}, "uses.0.input"),
        (
            {"uses": [{"node": "stem", "input": 0, "rule": "r", "axis": 0}]},
            "axis is not a key; there are input",
        ),
    ],
    ids=str,
)
def test_a_value_that_makes_no_sense_is_refused_by_name(edited, change, said):
    with pytest.raises(UserError, match="is not a quantization plan") as refused:
        edited(lambda tensors: tensors["image"].update(change))
    assert refused.value.why.startswith("tensors.image") and said in refused.value.why


CONTENTS = ["", "[]", "null", "{", '{"tensors": []}', '{"version": 2}', '{"tensor": {}}', '{"tensors": {"x": {}}}']


@pytest.mark.parametrize("content", [*CONTENTS, "[" * 10**5], ids=lambda content: content[:20] or "empty")
def test_a_file_that_is_no_plan_is_refused(tmp_path, content):
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(UserError, match="is not a quantization plan"):
        read_plan(tmp_path / "plan.json")


def test_a_missing_plan_says_how_to_make_one(tmp_path):
    with pytest.raises(UserError, match="no quantization plan") as refused:
        read_plan(tmp_path / "plan.json")
    assert " calibrate`" in refused.value.fix


@pytest.mark.parametrize(("scale", "axis"), [([0.1] * 5, 0), ([0.1] * 3, 1)], ids=["too few scales", "wrong axis"])
def test_scales_that_do_not_fit_their_weight_are_refused(network, edited, scale, axis):
    plan = edited(lambda tensors: tensors["stem.weight"].update({"scale": scale, "axis": axis}))
    with pytest.raises(UserError, match="stem"):
        apply(network[0], plan, GOALS["qdq"])


def uses_of(plan):
    """(tensor, node, input) of every quantized use."""
    return {(name, use.node, use.input) for name, item in plan.quantized.items() for use in item.uses}


@pytest.mark.parametrize("goal", GOALS.values(), ids=GOALS)
def test_deleting_a_tensor_leaves_exactly_its_readers_in_float(network, edited, tmp_path, goal):
    """Delete each tensor in turn, without training: a convolution that loses one operand loses both."""
    graph, _, plan = network
    whole = apply(graph, plan, goal).plan
    before = uses_of(whole)
    weighted = {node for name, node, _ in before if name in whole.weights}
    changed = 0
    for deleted in plan.tensors:
        applied = apply(graph, edited(lambda tensors, name=deleted: tensors.pop(name)), goal)
        halved = {node for name, node, _ in before if name == deleted} & weighted
        assert uses_of(applied.plan) == {use for use in before if use[0] != deleted and use[1] not in halved}
        write_verified(applied, goal.target, tmp_path / "edited.onnx")
        changed += uses_of(applied.plan) != before
    assert changed >= 12
