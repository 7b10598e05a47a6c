"""Tensors of a graph, and how much of it is quantized."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from core.errors import UserError
from deploy.apply.bake import Normalization, bake
from deploy.bundle.graph_facts import quantized_in, read_graph, tensors_of

VALUE = helper.make_tensor_value_info


def graph_of(nodes, initializers=(), inputs=("x",)):
    """A graph for counting only; it never runs."""
    constants = [numpy_helper.from_array(values, name) for name, values in dict(initializers).items()]
    tensors = [VALUE(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in inputs]
    return helper.make_graph(nodes, "g", tensors, [VALUE("y", TensorProto.FLOAT, [1, 4])], constants)


def node(op, inputs, output, **attributes):
    return helper.make_node(op, inputs, [output], **attributes)


CONSTANTS = {
    "s": np.float32(0.1),
    "signed": np.int8(0),
    "unsigned": np.uint8(128),
    "w8": np.zeros((4, 3, 3, 3), np.int8),
    "w": np.zeros((4, 3, 3, 3), np.float32),
}
ACTIVATION = [node("QuantizeLinear", ["x", "s", "signed"], "xq"), node("DequantizeLinear", ["xq", "s", "signed"], "xd")]
STORED = [node("DequantizeLinear", ["w8", "s", "signed"], "wd")]
PAIR = [node("QuantizeLinear", ["w", "s", "signed"], "wq"), node("DequantizeLinear", ["wq", "s", "signed"], "wd")]


@pytest.mark.parametrize("weights", [STORED, PAIR])
def test_a_quantized_convolution_has_both_inputs_quantized(weights):
    nodes = [*ACTIVATION, *weights, node("Conv", ["xd", "wd"], "a"), node("Conv", ["xd", "w"], "y")]
    assert quantized_in(graph_of(nodes, CONSTANTS)) == {
        "activations": 1,
        "unsigned_activations": 0,
        "weights": 1,
        "convolutions": 2,
        "quantized_convolutions": 1,
    }


@pytest.mark.parametrize(
    ("inputs", "constants", "unsigned"),
    [
        (["x", "s", "unsigned"], {}, 1),
        (["x", "s", "signed"], {}, 0),
        (["x", "s"], {}, 1),
        (["x", "s", "zero"], {"zero": np.uint8(3)}, 1),
    ],
)
def test_unsigned_activations_are_told_by_their_zero_point(inputs, constants, unsigned):
    given = [node("Constant", [], name, value=numpy_helper.from_array(value)) for name, value in constants.items()]
    found = quantized_in(graph_of([*given, node("QuantizeLinear", inputs, "y")], CONSTANTS))
    assert (found["activations"], found["unsigned_activations"]) == (1, unsigned)


def test_one_activation_in_two_forms_counts_once():
    pairs = [node("QuantizeLinear", ["x", "s", kind], kind + "_q") for kind in ("signed", "unsigned")]
    assert quantized_in(graph_of(pairs, CONSTANTS))["activations"] == 1


def test_counts_are_those_of_the_placement(exported):
    graph = read_graph(exported.placed)
    found = quantized_in(graph)
    assert found["activations"] == len(exported.plan.activations)
    assert found["weights"] == len(exported.plan.weights)
    assert quantized_in(read_graph(exported.fp32))["quantized_convolutions"] == 0


def test_layouts_of_the_network_and_of_its_baked_form(exported, tmp_path):
    bake(exported.fp32, tmp_path / "mask.onnx", Normalization((0.5, 0.5, 0.5), (0.2, 0.2, 0.2)), "bands")

    def layouts(path):
        found = tensors_of(read_graph(path))
        return [(item["name"], item["dtype"], item["layout"]) for item in (*found["inputs"], *found["outputs"])]

    assert layouts(exported.fp32) == [("image", "float32", "NCHW"), ("logits", "float32", "NCHW")]
    assert layouts(tmp_path / "mask.onnx") == [("rgb_image", "uint8", "NHWC"), ("label_map", "uint8", "NHW")]


def test_dynamic_sides_and_unknown_ranks():
    inputs = [VALUE("x", TensorProto.FLOAT16, ["batch", None, 3])]
    graph = helper.make_graph([], "g", inputs, [VALUE("y", TensorProto.FLOAT, ["batch", 10])])
    found = tensors_of(graph)
    assert found["inputs"] == [{"name": "x", "dtype": "float16", "shape": ["batch", None, 3], "layout": None}]
    assert found["outputs"][0]["layout"] == "NC"


def test_weights_listed_as_inputs_are_none():
    graph = graph_of([], CONSTANTS, inputs=("x", "w"))
    assert [item["name"] for item in tensors_of(graph)["inputs"]] == ["x"]


def test_no_onnx(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no graph")
    with pytest.raises(UserError, match="cannot be read as ONNX"):
        read_graph(tmp_path / "m.onnx")
    onnx.save(helper.make_model(graph_of([])), tmp_path / "m.onnx")
    assert read_graph(tmp_path / "m.onnx").name == "g"
