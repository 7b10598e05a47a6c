"""Partial quantization: by layer, by kind, and one side of a layer; the training and the deploy side decide alike."""

import numpy as np
import pytest
import torch

from core.config import LayerSpec, PlacementConfig
from deploy.checks.verify import verify
from deploy.graph import onnx_graph
from deploy.placement.decide import placement
from deploy.placement.partial import restricted
from deploy.placement.rule_sets import known_rules, rules_of
from deploy.placement.rules import RULES
from deploy.targets.tuned import Scheme
from deploy.tuning.choices import global_choices
from qat import api
from qat.quantization.insert import insert
from tests.nets.exported import reference
from tests.nets.placing import place
from tests.nets.residual_graph import residual_graph, traced_residual
from tests.rules.notation import net, quantized, whys

CHAIN = """
a = Conv(x, w1)
p = MaxPool(a)
c = Conv(p, w2)
s = Add(c, p)
d = Conv(s, w3)
t = Add(d, s)
y = Gemm(t, w4)
"""
SHAPE = (1, 3, 32, 32)


def weights(result):
    return {item.use.node for item in result.weights}


def test_nothing_chosen_changes_nothing():
    assert restricted(RULES) == RULES


def test_only_named_layers_are_quantized_and_the_others_say_so():
    rules = restricted(RULES, only=("c", "d"))
    graph = net(CHAIN, "y")
    assert weights(placement(graph, rules)) == {"c", "d"}
    assert {reader for _, reader in quantized(graph, *rules)} == {"c", "d"}
    left_out = {item.node for item in placement(graph, rules).skips if item.why == "not named in placement.only"}
    assert left_out == {"a", "p", "s", "t", "y"}


def test_op_without_weights_takes_part_where_all_its_origins_do():
    graph = net(CHAIN, "y")
    assert ("s", "t") in quantized(graph, *restricted(RULES, only=("c", "d", "a")))
    assert ("p", "s") not in quantized(graph, *restricted(RULES, only=("c",)))
    assert ("x", "a") in quantized(graph, *restricted(RULES, only=("a",)))


def test_a_pool_that_is_left_out_keeps_the_pair_behind_it():
    assert ("p", "c") in quantized(net(CHAIN, "y"), *restricted(RULES, only=("c",)))
    assert ("a", "p") in quantized(net(CHAIN, "y"), *RULES), "otherwise it moves in front"


def test_kinds_may_stand_for_names_but_not_as_patterns():
    graph = net(CHAIN, "y")
    assert weights(placement(graph, RULES, skip=("Gemm",))) == {"a", "c", "d"}
    assert weights(placement(graph, restricted(RULES, only=("Gemm",)))) == {"y"}
    assert weights(placement(graph, RULES, skip=("G*",))) == {"a", "c", "d", "y"}


@pytest.mark.parametrize(("inputs", "sides"), [(True, ({("p", "c")}, set())), (False, (set(), {"c"}))])
def test_one_side_alone(inputs, sides):
    rules = restricted(select_weighted(), layers=[LayerSpec(match="c", inputs=inputs, weights=not inputs)])
    graph = net(CHAIN, "y")
    assert {edge for edge in quantized(graph, *rules) if edge[1] == "c"} == sides[0]
    assert weights(placement(graph, rules)) & {"c"} == sides[1]
    assert whys(graph, *rules)["c"] == f"placement.layers: its {'weight' if inputs else 'input'} stays float"


def select_weighted():
    return tuple(rule for rule in RULES if rule.name == "weighted-ops")


def test_the_last_spec_that_names_a_layer_counts():
    specs = [LayerSpec(match="*", inputs=False), LayerSpec(match="d")]
    result = placement(net(CHAIN, "y"), restricted(select_weighted(), layers=specs))
    assert [item.edge.node for item in result.edges] == ["d"]
    assert weights(result) == {"a", "c", "d", "y"}


def test_a_tuned_placement_keeps_to_the_chosen_layers():
    config = PlacementConfig(only=("c",), layers=(LayerSpec(match="c", inputs=False),))
    known, scheme = known_rules(config), Scheme(rules=("weighted-ops",))
    assert weights(placement(net(CHAIN, "y"), scheme.select(known))) == {"c"}
    assert not quantized(net(CHAIN, "y"), *scheme.select(known))
    assert not any("only" in choice.name or "one-side" in choice.name for choice in global_choices(scheme, known))


def test_neither_side_is_refused():
    with pytest.raises(ValueError, match=r"placement\.skip"):
        LayerSpec(match="head", inputs=False, weights=False)


@pytest.mark.parametrize(
    "settings",
    [
        {"only": ["blocks.0.*"]},
        {"only": ["blocks.*"], "skip": ["blocks.1.conv1"]},
        {"only": ["Conv"], "skip": ["stem"]},
        {"layers": [{"match": "head", "inputs": False}, {"match": "blocks.0.conv1", "weights": False}]},
        {"only": ["blocks.1.*", "head"], "layers": [{"match": "head", "inputs": False}]},
    ],
    ids=str,
)
def test_what_is_trained_is_what_is_placed(tmp_path, settings):
    config = PlacementConfig.model_validate(settings)
    model = traced_residual(SHAPE[-1])
    trained = insert(model, rules_of(config), config.skip, graph=residual_graph(SHAPE[-1]))
    image = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
    api.calibrate(model, [image])
    api.export(model, image, tmp_path / "qdq.onnx")
    placed = place(tmp_path / "qdq.onnx", rules_of(config), config.skip)
    onnx_graph.save(placed.graph, tmp_path / "placed.onnx")
    verify(tmp_path / "placed.onnx", placed.plan)
    assert {use.node for item in placed.plan.weights.values() for use in item.uses} == weights(trained)
    assert placed.plan.activations.keys() == trained.by_tensor.keys()
    assert placed.unused == ()
    with torch.no_grad():
        expected = model(image).numpy()
    got = reference(tmp_path / "placed.onnx", {"image": image.numpy()})
    assert np.abs(got - expected).max() < 0.02 * np.abs(expected).max()
