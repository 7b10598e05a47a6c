"""`deploy place` and `deploy apply` on wrong graphs, images and plans: the error names them, the previous file
stays."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.faults.commands import edit_json, files_below

IMAGES = {
    "empty": np.zeros((0, 3, 8, 8), np.float32),
    "nothing but zeros": np.zeros((2, 3, 8, 8), np.float32),
    "bytes": np.full((2, 3, 8, 8), 255, np.uint8),
    "no axes": np.float32(1),
    "text": np.array(["a", "b"]),
    "another size": np.ones((1, 3, 16, 8), np.float32),
    "NaN": np.full((1, 3, 8, 8), np.nan, np.float32),
    "infinite": np.full((1, 3, 8, 8), np.inf, np.float32),
}


def network():
    """A convolution and a ReLU, float."""
    generator = np.random.default_rng(0)
    weight = numpy_helper.from_array(generator.standard_normal((4, 3, 3, 3)).astype(np.float32), "w")
    conv = helper.make_node("Conv", ["image", "w"], ["c"], name="conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    relu = helper.make_node("Relu", ["c"], ["logits"], name="relu")
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4, 8, 8])
    graph = helper.make_graph([conv, relu], "g", [image], [logits], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def pair(model, scale, axis=None, only_dq=False):
    """A Q/DQ pair, or a lone DQ, before the convolution."""
    graph, attributes = model.graph, {} if axis is None else {"axis": axis}
    graph.initializer.extend([numpy_helper.from_array(np.asarray(scale, np.float32), "s")])
    graph.initializer.extend([numpy_helper.from_array(np.zeros(np.shape(scale), np.int8), "z")])
    quantize = helper.make_node("QuantizeLinear", ["image", "s", "z"], ["q"], name="q", **attributes)
    dequantize = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["dq"], name="dq", **attributes)
    graph.node[0].input[0] = "dq"
    for node in [dequantize] if only_dq else [dequantize, quantize]:
        graph.node.insert(0, node)
    if only_dq:
        graph.input[0].type.tensor_type.elem_type = TensorProto.INT8
        graph.input[0].name = "q"


def set_op(name):
    def change(model):
        model.graph.node[1].op_type = name

    return change


def cycle(model):
    model.graph.node[0].input[0] = "logits"


def no_rank(model):
    model.graph.input[0].type.tensor_type.ClearField("shape")


def bytes_in(model):
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8


def old(model):
    model.ir_version = 0


def no_opset(model):
    del model.opset_import[:]


def lost_weight(model):
    del model.graph.initializer[:]


def twice(model):
    model.graph.node[1].output[0] = "c"


GRAPHS = {
    "an unknown operator": set_op("Frobnicate"),
    "a cycle": cycle,
    "an input without rank": no_rank,
    "an input of bytes": bytes_in,
    "no version of the format": old,
    "no operator set": no_opset,
    "a weight that is nowhere": lost_weight,
    "one name for two results": twice,
    "a DQ without Q": lambda model: pair(model, 0.1, only_dq=True),
    "a scale of another length": lambda model: pair(model, [0.1] * 7, axis=1),
    "an axis that is not there": lambda model: pair(model, [0.1] * 3, axis=7),
    "a scale of zero": lambda model: pair(model, 0.0),
    "a negative scale": lambda model: pair(model, -1.0),
}


@pytest.fixture
def images(tmp_path):
    np.save(tmp_path / "images.npy", np.random.default_rng(1).standard_normal((2, 3, 8, 8), np.float32))
    return tmp_path / "images.npy"


@pytest.fixture
def net(tmp_path):
    onnx.save(network(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_the_sound_network_is_placed(net, images, command):
    assert command("deploy.__main__", "place", net, "placed.onnx", "--calibration", images).code == 0


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_that_cannot_be_placed(images, command, tmp_path, name):
    model = network()
    GRAPHS[name](model)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "placed.onnx").write_bytes(b"previous")
    before = files_below(tmp_path)
    command("deploy.__main__", "place", "net.onnx", "placed.onnx", "--calibration", images).refuses(2)
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("name", IMAGES)
def test_images_that_no_range_can_be_measured_on(net, command, tmp_path, name):
    np.save(tmp_path / "wrong.npy", IMAGES[name])
    before = files_below(tmp_path)
    command("deploy.__main__", "place", net, "placed.onnx", "--calibration", "wrong.npy").refuses(2)
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_images_that_are_cut_short(net, images, command, tmp_path, suffix):
    np.savez(tmp_path / "images.npz", images=np.ones((2, 8, 8, 3), np.uint8), mean=np.zeros(3), std=np.ones(3))
    content = (tmp_path / f"images{suffix}").read_bytes()
    (tmp_path / f"half{suffix}").write_bytes(content[: len(content) // 2])
    command("deploy.__main__", "place", net, "placed.onnx", "--calibration", f"half{suffix}").refuses(2, "half")
    assert not (tmp_path / "placed.onnx").exists()


PLANS = {
    "no plan": lambda plan: [],
    "another graph": lambda plan: plan.__setitem__("graph", "0" * 64),
    "an unknown key": lambda plan: plan.__setitem__("threads", 1),
    "a scale of zero": lambda plan: plan["tensors"]["image"].__setitem__("scale", 0.0),
    "a scale of text": lambda plan: plan["tensors"]["image"].__setitem__("scale", "wide"),
    "scales of another length": lambda plan: plan["tensors"]["w"].__setitem__("scale", [0.1] * 9),
    "an axis that is not there": lambda plan: plan["tensors"]["w"].__setitem__("axis", 9),
    "no tensors": lambda plan: plan.__setitem__("tensors", {}),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_that_cannot_be_applied(net, images, command, tmp_path, name):
    assert command("deploy.__main__", "calibrate", net, images, "made").code == 0
    assert {"image", "w"} <= json.loads((tmp_path / "made/plan.json").read_text())["tensors"].keys()
    edit_json(tmp_path / "made/plan.json", PLANS[name])
    (tmp_path / "placed.onnx").write_bytes(b"previous")
    before = files_below(tmp_path)
    code = 1 if name == "no tensors" else 2  # an empty plan is valid: the engine would be float
    command("deploy.__main__", "apply", "made/float.onnx", "made/plan.json", "placed.onnx").refuses(code)
    assert files_below(tmp_path) == before
