"""Bias correction: the mean error of a layer goes, exactly; nothing but biases changes; it closes in on FP32."""

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from core.config import CalibrationConfig
from deploy.apply.apply import apply, decided
from deploy.apply.bias_correction import bias_correction, mean_errors
from deploy.apply.calibrate import calibrate
from deploy.checks.parity import decibels
from deploy.graph.debug_session import watching
from deploy.importing.import_plan import import_plan
from deploy.targets import get_backend
from tests.nets.picture_nets import network
from tests.nets.placing import goal_of

RANDOM = np.random.default_rng(3)
IMAGES = [np.abs(RANDOM.standard_normal((1, 3, 32, 32))).astype(np.float32) for _ in range(6)]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """(float graph, decided plan, target) of a network with a Gemm, a depthwise and a Conv without bias."""
    path = network(tmp_path_factory.mktemp("net") / "net.onnx", outputs=("scores", "map"))
    graph, _ = import_plan(path)
    goal = goal_of(get_backend("openvino"))
    plan = calibrate(graph, IMAGES, goal, CalibrationConfig(method="entropy"))  # clips, so that means shift
    return graph, decided(graph, plan, goal), goal


def values(graph, names):
    session = watching(gs.export_onnx(graph), names)
    return [session.run(names, {"image": image}) for image in IMAGES]


def channel_means(graph, name):
    found = np.stack([each[0].mean(axis=(0, 2, 3)) for each in values(graph, [name])])
    return found.mean(axis=0)


def test_the_first_layer_s_mean_error_goes(parts):
    graph, plan, goal = parts
    fixed, same = bias_correction(IMAGES)(graph, plan)
    assert same is plan
    expected = channel_means(graph, "c1")
    before, after = (channel_means(apply(each, plan, goal).graph, "c1") for each in (graph, fixed))
    assert np.abs(before - expected).max() > 1e-3
    assert np.abs(after - expected).max() < 2e-6


def test_every_error_is_that_of_the_layer_alone(parts):
    graph, plan, _ = parts
    errors = mean_errors(graph, plan, IMAGES)
    assert errors.keys() == {node.name for node in graph.nodes if node.op in ("Conv", "Gemm")}
    fixed, _ = bias_correction(IMAGES)(graph, plan)
    for node in fixed.nodes:
        if node.name not in errors:
            continue
        old = next(each for each in graph.nodes if each.name == node.name)
        known = old.inputs[2].values if len(old.inputs) > 2 else 0
        np.testing.assert_allclose(node.inputs[2].values, known + errors[node.name], rtol=1e-6)
        assert errors[node.name].shape == (node.inputs[2].values.size,)
        assert np.array_equal(node.inputs[1].values, old.inputs[1].values)
    assert "_corrected_bias" not in " ".join(graph.tensors())


def test_layers_that_stay_in_float_are_left_alone(parts):
    graph, plan, _ = parts
    errors = mean_errors(graph, plan.without(["w2"]), IMAGES)
    assert "c2_Conv" not in errors and "c3_Conv" in errors


def test_outputs_are_closer_to_fp32(parts):
    graph, plan, goal = parts
    fixed, _ = bias_correction(IMAGES)(graph, plan)
    expected = np.concatenate([each[0].ravel() for each in values(graph, ["map"])])
    found = [
        np.concatenate([each[0].ravel() for each in values(apply(one, plan, goal).graph, ["map"])])
        for one in (graph, fixed)
    ]
    before, after = (
        decibels(float(np.square(expected).sum()), float(np.square(expected - each).sum())) for each in found
    )
    assert after > before + 0.1
