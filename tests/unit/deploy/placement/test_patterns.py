"""A pattern that matches no name is refused, with similar names."""

import pytest
import torch
from torch import nn

from core.config import CalibrationConfig, DistillConfig, PlacementConfig
from core.console import console
from core.errors import EXIT_USER_ERROR, UserError
from deploy.__main__ import main as deploy_main
from deploy.placement.patterns import suggestion, unnamed
from deploy.placement.rules.base import Match, Rule, input_edge
from qat.api import quantize
from qat.calibration.calibrators import calibrator_of
from qat.quantization.insert import insert_configured
from qat.quantization.quantizers import quantizers
from qat.training.distill import distilled
from tests.nets.residual import residual_net
from tests.nets.residual_graph import residual_graph, traced_residual
from tests.rules.notation import net

EXAMPLE = torch.zeros(1, 3, 32, 32)
OWN_RULES = """
from deploy.placement.rules.base import Rule

RULES = (Rule("softmax-inputs", "a reason", "a source", lambda graph, node: None),)
"""


@pytest.fixture
def model():
    return traced_residual(32)


def placed(model, config, **more):
    """`insert_configured` on the network's graph."""
    return insert_configured(model, config, graph=residual_graph(32), **more)


@pytest.mark.parametrize(
    ("settings", "what", "near"),
    [
        ({"skip": ["blocks.0.cnov1"]}, "placement.skip: blocks.0.cnov1 names nothing", "blocks.0.conv1"),
        ({"skip": ["haed*"]}, "placement.skip: haed* names nothing", "head"),
        ({"skip": ["stem", "conv"]}, "placement.skip: conv names nothing", "Conv"),
        ({"only": ["block.*"]}, "placement.only: block.* names nothing", "blocks"),
        ({"only": ["add"]}, "placement.only: add names no operator with weights", "head"),
        ({"layers": [{"match": "heads", "inputs": False}]}, "placement.layers: heads names nothing", "head"),
    ],
    ids=str,
)
def test_a_pattern_that_names_nothing_is_refused_with_near_names(model, settings, what, near):
    with pytest.raises(UserError) as error:
        placed(model, PlacementConfig.model_validate(settings))
    assert error.value.what.startswith(what)
    assert "did you mean" in error.value.fix and near in error.value.fix
    assert not quantizers(model), "the network is as it was"


def test_from_python_it_is_the_same_error():
    with pytest.raises(UserError, match=r"placement\.skip: layer9\.\* names nothing"):
        quantize(residual_net(), EXAMPLE, PlacementConfig(skip=("layer9.*",)))


def test_patterns_that_name_something_pass(model):
    placed(model, PlacementConfig(skip=("blocks.0.*", "Resize"), only=("Conv",)))
    assert "blocks.1.conv1.weight_quantizer" in quantizers(model)


def test_a_rule_that_finds_nothing_is_told(model, tmp_path):
    (tmp_path / "rules.py").write_text(OWN_RULES, encoding="utf-8")
    with console.capture() as captured:
        placed(model, PlacementConfig(custom=(tmp_path / "rules.py",)))
    assert "rule softmax-inputs finds nothing of its kind" in captured.get()


def test_a_rule_from_python_places_quantizers_and_obeys_the_config(model):
    def both_inputs(_graph, node):
        return Match(edges=tuple(input_edge(node, i) for i in (0, 1))) if node.kind == "Add" else None

    own = Rule("every-add", "both inputs in INT8", "this test", both_inputs)
    with console.capture() as captured:
        where = placed(model, PlacementConfig(), own=(own,))
    assert captured.get() == ""
    assert {item.rule for item in where.edges} >= {"every-add"}
    only = traced_residual(32)
    where = placed(only, PlacementConfig(only=("head",)), own=(own,))
    assert {item.edge.node for item in where.edges} == {"head"}


def test_calibration_overrides_and_distilled_features_suggest_names(model):
    placed(model, PlacementConfig())
    override = {"match": "blocks.0.conv_1", "method": "max"}
    with pytest.raises(UserError) as error:
        calibrator_of(model, CalibrationConfig.model_validate({"overrides": [override]}))
    assert "blocks.0.conv1" in error.value.fix
    network = nn.Sequential(nn.Conv2d(3, 3, 1))
    network.add_module("classifier", nn.Identity())
    config = DistillConfig(weight=1.0, features=("clasifier",))
    with pytest.raises(UserError) as error, distilled(lambda *_: {}, network, network, config):
        pass
    assert error.value.fix == "did you mean classifier?"


def test_the_command_refuses(exported, tmp_path, monkeypatch, capsys):
    source = str(exported.qdq)
    for option in ("--skip", "--only"):
        monkeypatch.setattr("sys.argv", ["deploy", "place", source, str(tmp_path / "out.onnx"), option, "haed"])
        assert deploy_main() == EXIT_USER_ERROR
        assert "did you mean head" in capsys.readouterr().err
    assert not (tmp_path / "out.onnx").exists()


def test_unnamed_keeps_the_order_and_kinds_are_exact():
    graph = net("a = Conv(x, w1)\ny = Relu(a)", "y")
    assert unnamed(graph.nodes, ("z", "Conv", "C*", "a")) == ("z", "C*")


def test_without_a_near_name_some_are_shown():
    assert suggestion("qqqq", [f"layer{i}" for i in range(9)]) == "there are layer0, layer1, layer2, … (9 names)"
