import numpy as np
import onnx_graphsurgeon as gs
import pytest

from deploy.graph import onnx_graph
from deploy.plan.plan import QuantizationPlan
from deploy.plan.scale import Scale, quantize_array
from deploy.rewrites.fold_bn import fold_bn
from tests.foreign.builder import BIASES, WEIGHTS, Builder
from tests.foreign.test_toolkits import image
from tests.nets.exported import reference

GAMMA = np.float32([2, -0.5, 1e-3, 3])
SCALE = Scale(np.float32([0.1, 0.2, 0.3, 0.4]), 0)


def network(gamma=GAMMA, bias=True, spy=False, output="bn"):
    b = Builder()
    w = b.const("w", WEIGHTS["c1"])
    b.conv("image", w, "c1", b.const("b", BIASES["c1"]) if bias else "")
    values = (gamma, BIASES["c1"] / 3, BIASES["c1"], np.float32([0.5, 1, 2, 4]))
    b.add("BatchNormalization", ["c1", *(b.const(f"bn{i}", value) for i, value in enumerate(values))], "bn")
    if spy:
        b.add("Add", ["c1", "bn"], output)
    return b


def folded(graph, scales):
    """The scales after folding."""
    return fold_bn(graph, QuantizationPlan().with_scales(scales, "test"))[1].scales()


def loaded(b, tmp_path, output="bn"):
    return onnx_graph.load(b.save(tmp_path / "m.onnx", output=output, shape=(1, 4, 8, 8)))


@pytest.mark.parametrize("bias", [True, False])
def test_folded_network_computes_the_same(tmp_path, bias):
    graph = loaded(network(bias=bias), tmp_path)
    fold_bn(graph, QuantizationPlan())
    assert [node.op for node in graph.nodes] == ["Conv"]
    onnx_graph.save(graph, tmp_path / "folded.onnx")
    got, expected = reference(tmp_path / "folded.onnx", image()), reference(tmp_path / "m.onnx", image())
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5)


def test_integers_of_the_weight_stay_but_for_the_sign(tmp_path):
    graph = loaded(network(), tmp_path)
    scales = folded(graph, {"w": SCALE})
    before = quantize_array(WEIGHTS["c1"], SCALE)
    after = quantize_array(graph.nodes[0].inputs[1].values, scales["w"])
    np.testing.assert_array_equal(after, before * np.sign(GAMMA).astype(np.int8).reshape(-1, 1, 1, 1))


def test_one_scale_becomes_one_a_channel(tmp_path):
    graph = loaded(network(), tmp_path)
    scale = folded(graph, {"w": Scale(np.float32(0.1))})["w"]
    assert scale.axis == 0
    np.testing.assert_allclose(scale.values, 0.1 * np.abs(GAMMA) / np.sqrt(np.float32([0.5, 1, 2, 4])), rtol=1e-4)


def test_a_channel_of_zero_is_left(tmp_path):
    graph = loaded(network(gamma=np.float32([1, 0, 1, 1])), tmp_path)
    np.testing.assert_array_equal(folded(graph, {"w": SCALE})["w"].values, SCALE.values)
    assert [node.op for node in graph.nodes] == ["Conv", "BatchNormalization"]


def test_a_convolution_that_somebody_else_reads_is_left(tmp_path):
    graph = loaded(network(spy=True, output="y"), tmp_path, output="y")
    fold_bn(graph, QuantizationPlan())
    assert "BatchNormalization" in [node.op for node in graph.nodes]


def test_a_weight_of_two_convolutions_is_left(tmp_path):
    b = network()
    b.conv("image", "w", "c1")
    b.nodes[-1].output[0] = "other"
    b.add("Add", ["bn", "other"], "y")
    graph = loaded(b, tmp_path, output="y")
    fold_bn(graph, QuantizationPlan())
    assert "BatchNormalization" in [node.op for node in graph.nodes]


def test_transposed_convolution_folds_along_its_second_axis(tmp_path):
    b = Builder()
    w = b.const("w", np.ascontiguousarray(WEIGHTS["c1"].transpose(1, 0, 2, 3)))
    b.add("ConvTranspose", ["image", w], "c1", pads=[1] * 4)
    values = (GAMMA, BIASES["c1"], BIASES["c1"], np.float32([1, 1, 2, 4]))
    b.add("BatchNormalization", ["c1", *(b.const(f"bn{i}", value) for i, value in enumerate(values))], "bn")
    graph = loaded(b, tmp_path)
    scale = folded(graph, {"w": Scale(np.float32(0.1))})["w"]
    assert scale.axis == 1
    onnx_graph.save(graph, tmp_path / "folded.onnx")
    got, expected = reference(tmp_path / "folded.onnx", image()), reference(tmp_path / "m.onnx", image())
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5)
    assert isinstance(graph.nodes[0].inputs[2], gs.Constant)
