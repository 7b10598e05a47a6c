"""Passes keep their contracts, run in one order, and turn one plan into every target's graph."""

from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from deploy.apply.apply import apply, passes
from deploy.apply.calibrate import complete
from deploy.apply.fp16 import fallback_to_fp16
from deploy.apply.insert import insertion
from deploy.apply.number_formats import number_formats
from deploy.apply.passes import IS_DECIDED, IS_FLOAT, IS_INSERTED, Condition, Pass
from deploy.apply.target import TargetConfig
from deploy.checks.verify import violations
from deploy.checks.write import write_verified
from deploy.importing.import_plan import import_plan
from deploy.placement.rule_sets import select
from deploy.plan.plan import QuantizationPlan, TensorPlan, Use
from deploy.targets import TARGETS
from tests.nets.exported import image, reference

HALF = replace(TARGETS["tensorrt"], fallback="fp16")
ALL = {**TARGETS, "tensorrt-fp16": HALF}
GOALS = [TargetConfig(target, select(target.rule_set)) for target in ALL.values()]
each_target = pytest.mark.parametrize("goal", GOALS, ids=ALL)
NEVER, ALWAYS = Condition("never", lambda graph, plan: False), Condition("always", lambda graph, plan: True)


@pytest.fixture(scope="module")
def source(exported):
    """The float graph and one plan that has a scale for everything that any target quantizes."""
    graph, plan = import_plan(exported.qdq)
    return graph, complete(plan, graph, [image()], GOALS)


def unchanged(graph, plan):
    return graph, plan


def relu():
    """x ─▶ Relu ─▶ y, node "r"."""
    x, y = (gs.Variable(name, np.float32, (1, 2, 3, 3)) for name in "xy")
    return gs.Graph([gs.Node("Relu", "r", {}, [x], [y])], [x], [y], opset=18, ir_version=8)


def planned(tensor="x", node="r"):
    entry = TensorPlan(scale=0.1, origin="test", uses=(Use(node=node, input=0, rule="test"),))
    return QuantizationPlan(tensors={tensor: entry})


def inserted():
    """`relu` with the pair that is in `planned`."""
    return insertion()(relu(), planned())


def test_a_pass_returns_what_its_step_returns():
    def step(graph, plan):
        return relu(), plan.without(["x"])

    graph, plan = Pass("step", step, requires=(ALWAYS,), ensures=(ALWAYS,))(gs.Graph(), planned())
    assert [node.name for node in graph.nodes] == ["r"] and not plan.tensors


def test_a_broken_requirement_stops_a_pass_before_its_step():
    def step(graph, plan):
        raise RuntimeError("it ran")

    with pytest.raises(AssertionError, match="pass step requires: never"):
        Pass("step", step, requires=(ALWAYS, NEVER))(relu(), QuantizationPlan())


def test_a_broken_promise_is_an_error_that_names_the_pass():
    with pytest.raises(AssertionError, match="pass step ensures: never"):
        Pass("step", unchanged, ensures=(ALWAYS, NEVER))(relu(), QuantizationPlan())


def test_conditions_are_about_the_graph_before_and_the_graph_after():
    def add_pair(graph, plan):
        return insertion()(graph, plan)

    Pass("step", add_pair, requires=(IS_FLOAT,), ensures=(IS_INSERTED,))(relu(), planned())
    with pytest.raises(AssertionError, match="ensures: no Q/DQ node"):
        Pass("step", add_pair, ensures=(IS_FLOAT,))(relu(), planned())


def test_pairs_are_inserted_into_a_float_graph_only():
    with pytest.raises(AssertionError, match="insert Q/DQ requires: no Q/DQ node"):
        insertion()(*inserted())


@pytest.mark.parametrize("plan", [planned(node="gone"), planned(tensor="y")], ids=["no such node", "another tensor"])
def test_pairs_are_inserted_where_the_plan_s_uses_are_in_the_graph(plan):
    with pytest.raises(AssertionError, match="insert Q/DQ requires: every use of the plan"):
        insertion()(relu(), plan)


@pytest.mark.parametrize("later", [number_formats("always"), fallback_to_fp16()], ids=lambda step: step.name)
def test_later_passes_need_the_pairs_of_the_plan(later):
    with pytest.raises(AssertionError, match=f"pass {later.name} requires: the graph has one DequantizeLinear"):
        later(relu(), planned())


def test_a_lost_pair_breaks_the_contract():
    graph, plan = inserted()
    assert IS_INSERTED.holds(graph, plan) and not IS_INSERTED.holds(graph, QuantizationPlan())
    assert IS_DECIDED.holds(relu(), planned()) and not IS_FLOAT.holds(graph, plan)


@each_target
def test_rewrites_come_first_and_casts_last(goal):
    found = passes(goal, [])
    own = ["fold_bn_through_add", "bn_as_conv"] if goal.target.name == "onnxruntime" else []
    rewrites = ["pixel stem", *own]
    casts = ["fallback precision FP16"] if goal.target.fallback == "fp16" else []
    assert [step.name for step in found] == [*rewrites, "place", "insert Q/DQ", "number formats", *casts]
    assert all(IS_FLOAT in step.requires for step in found[: len(rewrites) + 2])
    assert all(IS_INSERTED in step.requires and IS_INSERTED in step.ensures for step in found[len(rewrites) + 2 :])


@each_target
def test_one_plan_gives_every_target_a_graph_that_computes_the_network(source, exported, tmp_path, goal):
    applied = apply(*source, goal)
    write_verified(applied, goal.target, tmp_path / "m.onnx")
    feeds = {"image": image()}
    expected, got = reference(exported.qdq, feeds), reference(tmp_path / "m.onnx", feeds)
    assert np.abs(got - expected).mean() < 0.02 * np.abs(expected).max()
    kinds = [node.op for node in applied.graph.nodes]
    assert kinds.count("DequantizeLinear") == len(applied.plan.quantized) > 10
    assert kinds.count("QuantizeLinear") == len(applied.plan.activations)


def test_targets_differ_in_their_number_formats(source):
    found = {}
    for name, target in ALL.items():
        graph = apply(*source, TargetConfig(target, select(target.rule_set))).graph
        zero_points = (node.inputs[2].values for node in graph.nodes if node.op == "QuantizeLinear")
        found[name] = {(str(values.dtype), int(values)) for values in zero_points}
    signed = {("int8", 0)}
    assert found["qdq"] == found["tensorrt"] == found["tensorrt-fp16"] == signed
    assert found["openvino"] == {("int8", 0), ("uint8", 0)}
    assert found["onnxruntime"] == {("uint8", 0), ("uint8", 128)}


def test_the_fallback_precision_is_in_the_graph(source):
    graph = apply(*source, TargetConfig(HALF, select("tensorrt"))).graph
    assert graph.inputs[0].dtype == graph.outputs[0].dtype == np.float32
    (head,) = (node for node in graph.nodes if node.name == "head")
    assert head.outputs[0].dtype == np.float16
    scales = [node.inputs[1].values.dtype for node in graph.nodes if node.op == "DequantizeLinear"]
    assert set(scales) == {np.dtype(np.float16)}


def test_the_uses_of_the_plan_count_where_a_target_has_no_rules(source, exported):
    graph, plan = source
    kept = apply(graph, exported.plan, TargetConfig(TARGETS["qdq"], rules=None))
    assert kept.plan == exported.plan
    none = apply(graph, plan, TargetConfig(TARGETS["qdq"], rules=()))
    assert not none.plan.quantized and not any(node.op == "QuantizeLinear" for node in none.graph.nodes)


@each_target
def test_applying_changes_neither_the_graph_nor_the_plan(source, goal):
    graph, plan = source
    before, content = gs.export_onnx(graph).SerializeToString(), plan.to_json()
    first = apply(graph, plan, goal)
    assert gs.export_onnx(graph).SerializeToString() == before and plan.to_json() == content
    again = apply(graph, plan, goal)
    assert gs.export_onnx(first.graph).SerializeToString() == gs.export_onnx(again.graph).SerializeToString()
    assert not list(violations(again.graph, goal.target.unsigned))
