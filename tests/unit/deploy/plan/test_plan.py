"""plan.json: read back as written; refused when it is invalid or belongs to another graph."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import UserError
from deploy.apply.apply import apply
from deploy.apply.target import TargetConfig
from deploy.checks.write import write_verified
from deploy.graph import onnx_graph
from deploy.placement.rules import RULES
from deploy.plan.plan import QuantizationPlan, read_plan, write_plan
from deploy.targets import target_for
from qat.calibration.approaches import finish, set_modes
from qat.export import planned
from qat.quantization.insert import insert
from qat.quantization.quantizers import Mode
from qat.tracing import fx_graph
from tests.nets.exported import reference
from tests.nets.residual import residual_net

IMAGE = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def made(model):
    """The float graph and the plan of a calibrated network."""
    traced = fx_graph.trace(model.eval(), IMAGE)
    insert(traced, RULES)
    set_modes(traced, Mode.TRACK)
    traced(IMAGE)
    finish(traced)
    return planned(traced, IMAGE, 18)


@pytest.fixture(scope="module")
def network():
    return made(residual_net())


def test_a_plan_is_read_back_as_it_was_written(network, tmp_path):
    graph, plan = network
    onnx_graph.save(graph, tmp_path / "float.onnx")
    bound = plan.of_graph(tmp_path / "float.onnx")
    write_plan(bound, tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json", tmp_path / "float.onnx") == bound
    assert bound.activations and bound.weights and bound.skips


def test_the_plan_of_another_graph_is_refused(network, tmp_path):
    graph, plan = network
    onnx_graph.save(graph, tmp_path / "float.onnx")
    write_plan(plan, tmp_path / "plan.json")
    with pytest.raises(UserError, match="plan of another graph"):
        read_plan(tmp_path / "plan.json", tmp_path / "float.onnx")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scale": 0.0}, "finite and positive"),
        ({"scale": 1e-60}, "finite and positive"),
        ({"scale": [0.1, 0.2]}, "axis"),
        ({"scale": "wide"}, "scale"),
        ({"format": "fp8"}, "int8"),
        ({"sclae": 1.0}, "sclae"),
    ],
    ids=["zero", "below float32", "no axis", "a word", "format", "misspelled"],
)
def test_an_edit_that_makes_no_sense_is_refused(network, tmp_path, change, said):
    content = network[1].to_json()
    content["tensors"]["image"] |= change
    (tmp_path / "plan.json").write_text(json.dumps(content))
    with pytest.raises(UserError) as refused:
        read_plan(tmp_path / "plan.json")
    assert said in str(refused.value)


@pytest.mark.parametrize("target", ["qdq", "tensorrt", "openvino", "onnxruntime"])
def test_a_tensor_that_is_deleted_from_the_plan_is_float_in_the_graph(network, tmp_path, target):
    graph, plan = network
    goal = TargetConfig(target_for(target), RULES)
    whole = apply(graph, plan, goal)
    edited = apply(graph, plan.without(["relu"]), goal)
    assert "relu" in whole.plan.quantized and "relu" not in edited.plan.quantized
    assert "head.weight" not in edited.plan.quantized, "a convolution is quantized whole or not at all"
    write_verified(edited, goal.target, Path(tmp_path / "edited.onnx"))
    images = {"image": IMAGE.numpy()}
    onnx_graph.save(graph, tmp_path / "float.onnx")
    expected = reference(tmp_path / "float.onnx", images)
    assert np.abs(reference(tmp_path / "edited.onnx", images) - expected).mean() < 0.02 * np.abs(expected).max()


def test_a_scale_that_is_edited_is_the_scale_of_the_graph(network):
    graph, plan = network
    wide = plan.tensors["relu"].model_copy(update={"scale": 0.75})
    edited = plan.model_copy(update={"tensors": {**plan.tensors, "relu": wide}})
    made = apply(graph, edited, TargetConfig(target_for("qdq"), RULES))
    scales = {float(node.inputs[1].values) for node in made.graph.nodes if node.op == "QuantizeLinear"}
    assert 0.75 in scales
    assert made.plan.tensors["relu"].scale == 0.75


def test_the_float_graph_is_not_changed(network):
    graph, plan = network
    before = [(node.op, node.name) for node in graph.nodes]
    apply(graph, plan, TargetConfig(target_for("tensorrt"), RULES))
    assert [(node.op, node.name) for node in graph.nodes] == before
    assert isinstance(plan, QuantizationPlan)


def test_a_synchronized_batchnorm_is_a_batchnorm():
    """SyncBatchNorm, which most segmentation code trains with, is placed like BatchNorm."""
    plain, synchronized = residual_net(), torch.nn.SyncBatchNorm.convert_sync_batchnorm(residual_net())
    (graph, plan), (other_graph, other) = made(plain), made(synchronized)
    assert any(isinstance(module, torch.nn.SyncBatchNorm) for module in synchronized.modules())
    assert [node.name for node in graph.nodes] == [node.name for node in other_graph.nodes]
    assert plan.tensors.keys() == other.tensors.keys() and plan.skips == other.skips
    for name, tensor in plan.tensors.items():
        assert tensor.uses == other.tensors[name].uses
        assert np.allclose(tensor.scale, other.tensors[name].scale, rtol=1e-5)
