"""Equalised depthwise inputs: the same function, one range for all channels, and fewer bits lost."""

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from onnx import helper, numpy_helper

from core.config import CalibrationConfig
from deploy.apply.apply import apply
from deploy.apply.calibrate import calibrate
from deploy.apply.equalize import channel_ranges, depthwise_inputs, equalized
from deploy.checks.parity import decibels
from deploy.graph.debug_session import watching
from deploy.importing.import_plan import import_plan
from deploy.targets import get_backend
from tests.nets.placing import goal_of

RANDOM = np.random.default_rng(4)
IMAGES = [RANDOM.standard_normal((1, 3, 16, 16)).astype(np.float32) for _ in range(4)]
GAINS = np.float32([1, 0.01, 30, 1, 0.1, 1, 5, 0.001])


def graph(folder, activation="Relu", readers=1):
    """Conv whose channels differ 30000-fold, `activation`, depthwise Conv; others may read the activation too."""
    constants = {
        "w1": RANDOM.standard_normal((8, 3, 3, 3)).astype(np.float32) * GAINS.reshape(-1, 1, 1, 1),
        "b1": RANDOM.standard_normal(8).astype(np.float32) * GAINS,
        "w2": RANDOM.standard_normal((8, 1, 3, 3)).astype(np.float32) / GAINS.reshape(-1, 1, 1, 1),
        "w3": RANDOM.standard_normal((4, 8, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], name="c1", pads=[1] * 4),
        helper.make_node(activation, ["c1"], ["x"], name="act"),
        helper.make_node("Conv", ["x", "w2"], ["dw"], name="dw", pads=[1] * 4, group=8),
        helper.make_node("Conv", ["dw", "w3"], ["y"], name="head"),
    ]
    if readers > 1:
        nodes[-1].output[0] = "part"
        nodes += [
            helper.make_node("Conv", ["x", "w3"], ["other"], name="side"),
            helper.make_node("Add", ["part", "other"], ["y"], name="sum"),
        ]
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes,
        "g",
        [value("image", 1, [1, 3, 16, 16])],
        [value("y", 1, [1, 4, 16, 16])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "net.onnx")
    return import_plan(folder / "net.onnx")[0]


def outputs(graph, name="y"):
    session = watching(gs.export_onnx(graph), [name])
    return np.concatenate([session.run([name], {"image": image})[0] for image in IMAGES])


@pytest.mark.parametrize(("activation", "readers"), [("Relu", 1), ("HardSwish", 1), ("Relu", 2)])
def test_the_function_stays_and_the_ranges_become_one(tmp_path, activation, readers):
    plain = graph(tmp_path, activation, readers)
    assert depthwise_inputs(plain) == ["x"]
    before = {name: tensor.values.copy() for name, tensor in plain.tensors().items() if isinstance(tensor, gs.Constant)}
    ranges = channel_ranges(plain, ["x"], IMAGES)
    np.testing.assert_allclose(ranges["x"], np.abs(outputs(plain, "x")).max(axis=(0, 2, 3)))
    equal = equalized(plain, ranges)
    expected = outputs(plain)
    np.testing.assert_allclose(outputs(equal), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    read = depthwise_inputs(equal)[0]
    found = channel_ranges(equal, [read], IMAGES)[read]
    limited = ranges["x"].max() / ranges["x"] > 256
    assert limited.any() and (found[~limited] > found.max() / 2.01).all()
    folded = activation == "Relu" and readers == 1
    assert sum(node.op == "Mul" for node in equal.nodes) == (0 if folded else 1)
    assert all(np.array_equal(plain.tensors()[name].values, values) for name, values in before.items())


def test_int8_is_closer_to_float(tmp_path):
    plain = graph(tmp_path, "HardSwish")
    expected, goal = outputs(plain), goal_of(get_backend("openvino"))

    def snr(float_graph):
        plan = calibrate(float_graph, IMAGES, goal, CalibrationConfig(method="max"))
        noise = outputs(apply(float_graph, plan, goal).graph) - expected
        return decibels(float(np.square(expected).sum()), float(np.square(noise).sum()))

    assert snr(equalized(plain, channel_ranges(plain, ["x"], IMAGES))) > snr(plain) + 4


def test_channels_that_are_alike_or_always_zero_are_left_alone(tmp_path):
    plain = graph(tmp_path)
    even = {"x": np.float32([1, 1.5, 1.9, 1, 1, 0, 1, 1])}
    assert [node.op for node in equalized(plain, even).nodes] == [node.op for node in plain.nodes]
    assert np.array_equal(outputs(equalized(plain, even)), outputs(plain))
