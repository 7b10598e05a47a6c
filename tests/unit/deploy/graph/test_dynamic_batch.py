"""A symbolic batch: the same results as image by image, or a refusal."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from core.errors import UserError
from deploy.apply.dynamic_batch import BATCH, require_same, with_dynamic_batch
from tests.nets.exported import SHAPE


def save(path, nodes, inputs, outputs, constants):
    """Write a float32 graph; `inputs` and `outputs` map names to shapes."""

    def infos(shapes):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", infos(inputs), infos(outputs), values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def run(path, image):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


@pytest.fixture
def resized(tmp_path):
    """Sizes of Resize and targets of Reshape as the exporter writes them."""
    nodes = [
        helper.make_node("Resize", ["x", "", "", "sizes"], ["big"], name="up", mode="linear"),
        helper.make_node("Reshape", ["big", "flat"], ["row"], name="flatten"),
        helper.make_node("Reshape", ["row", "square"], ["y"], name="unflatten"),
    ]
    constants = {"sizes": np.array([1, 2, 5, 7]), "flat": np.array([1, -1]), "square": np.array([1, 2, 7, 5])}
    return save(tmp_path / "resized.onnx", nodes, {"x": [1, 2, 3, 3]}, {"y": [1, 2, 7, 5]}, constants)


def test_batch_written_into_resize_and_reshape_follows_the_input(resized, tmp_path):
    target = tmp_path / "dynamic.onnx"
    with_dynamic_batch(resized, target)
    images = np.random.default_rng(1).standard_normal((3, 2, 3, 3), dtype=np.float32)
    expected = np.concatenate([run(resized, image[np.newaxis]) for image in images])
    np.testing.assert_array_equal(run(target, images), expected)
    require_same(target, resized)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_network_of_every_precision(exported, tmp_path, precision):
    source, target = exported.source(precision, "tensorrt"), tmp_path / "dynamic.onnx"
    with_dynamic_batch(source, target)
    require_same(target, source)
    graph = onnx.load(target).graph
    first = [tensor.type.tensor_type.shape.dim[0].dim_param for tensor in (*graph.input, *graph.output)]
    assert first == [BATCH, BATCH]
    image = np.zeros((3, *SHAPE[1:]), np.float32)
    assert run(target, image).shape[0] == 3


def test_only_the_batch_is_dynamic(resized, tmp_path):
    with_dynamic_batch(resized, tmp_path / "dynamic.onnx")
    graph = onnx.load(tmp_path / "dynamic.onnx").graph
    rest = [[side.dim_value for side in t.type.tensor_type.shape.dim[1:]] for t in (*graph.input, *graph.output)]
    assert rest == [[2, 3, 3], [2, 7, 5]]


def test_another_batch_than_one_is_refused(tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"])
    source = save(tmp_path / "two.onnx", [node], {"x": [2, 3]}, {"y": [2, 3]}, {})
    with pytest.raises(UserError, match="two") as caught:
        with_dynamic_batch(source, tmp_path / "dynamic.onnx")
    assert "x [2, 3]" in caught.value.why
    assert not (tmp_path / "dynamic.onnx").exists()


def test_network_that_mixes_images_is_refused(tmp_path):
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    source = save(tmp_path / "mixing.onnx", nodes, {"x": [1, 3]}, {"y": [1, 3]}, {})
    with_dynamic_batch(source, tmp_path / "dynamic.onnx")
    with pytest.raises(UserError, match="dynamic batch") as caught:
        require_same(tmp_path / "dynamic.onnx", source)
    assert "another result than alone" in caught.value.why


def test_network_whose_weights_hold_the_batch_is_refused(tmp_path):
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["t", "w"], ["m"]),
        helper.make_node("Transpose", ["m"], ["y"], perm=[1, 0]),
    ]
    source = save(tmp_path / "odd.onnx", nodes, {"x": [1, 3]}, {"y": [1, 3]}, {"w": np.ones((1, 1), np.float32)})
    with_dynamic_batch(source, tmp_path / "dynamic.onnx")
    with pytest.raises(UserError, match="dynamic batch"):
        require_same(tmp_path / "dynamic.onnx", source)


def test_network_that_loses_the_batch_on_its_way_is_refused(tmp_path):
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["f"]),
        helper.make_node("Reshape", ["f", "shape"], ["y"]),
    ]
    constants = {"flat": np.array([6]), "shape": np.array([1, 6])}
    source = save(tmp_path / "merged.onnx", nodes, {"x": [1, 6]}, {"y": [1, 6]}, constants)
    with_dynamic_batch(source, tmp_path / "dynamic.onnx")
    with pytest.raises(UserError, match="dynamic batch") as caught:
        require_same(tmp_path / "dynamic.onnx", source)
    assert "Reshape" in caught.value.why
