"""Engines that take pixels compute what the Q/DQ graph computes of the normalised picture."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from deploy.apply.apply import apply
from deploy.apply.calibrate import complete
from deploy.apply.feed_pixels import fed, feed_pixels, pixels_of, reads_pixels, takes_pixels
from deploy.apply.target import PORTABLE, TargetConfig
from deploy.bundle.pixels import Feeder
from deploy.bundle.types import BuildOptions
from deploy.checks.verify import verify
from deploy.graph import onnx_graph
from deploy.hardware.cpu import multiplies_uint8
from deploy.placement.rule_sets import select
from deploy.targets import TARGETS, get_backend
from tests.unit.deploy.rewrites.stems import PICTURE, followed, normalized, pictures, plan_of, stem


def placed(tmp_path, unsigned="never", block=2, rule_set="tensorrt", fallback="fp32", picture=PICTURE):
    graph = stem()
    goal = TargetConfig(replace(PORTABLE, unsigned=unsigned, block=block, fallback=fallback), select(rule_set))
    applied = apply(graph, plan_of(graph, picture), goal)
    onnx_graph.save(applied.graph, tmp_path / "placed.onnx")
    verify(tmp_path / "placed.onnx", applied.plan, unsigned)
    return tmp_path / "placed.onnx"


def run(path, value):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": value})[0]


def manifest(path):
    graph = onnx_graph.load(path)
    (image,) = graph.inputs
    return {
        "tensors": {"inputs": [{"shape": list(image.shape), "dtype": np.dtype(image.dtype).name}]},
        "pixels": pixels_of(graph.doc_string),
    }


@pytest.mark.parametrize("fallback", ["fp32", "fp16"])
@pytest.mark.parametrize("unsigned, dtype", [("never", "int8"), ("non-negative", "int8"), ("always", "uint8")])
@pytest.mark.parametrize("block, shape", [(1, (1, 12, 16, 4)), (2, (1, 6, 8, 16))])
def test_computes_the_same_bit_by_bit(tmp_path, unsigned, dtype, block, shape, fallback):
    source, fed, rgb = placed(tmp_path, unsigned, block, fallback=fallback), tmp_path / "fed.onnx", pictures()
    feed_pixels(source, fed)
    feeds = Feeder(manifest(fed)).ready({"image": rgb})
    assert (feeds["image"].dtype.name, feeds["image"].shape) == (dtype, shape)
    expected = run(source, normalized(rgb))
    assert np.ptp(expected) > 1
    np.testing.assert_array_equal(run(fed, feeds["image"]), expected)


def test_nothing_is_before_the_first_convolution_but_its_layout(tmp_path):
    feed_pixels(placed(tmp_path), tmp_path / "fed.onnx")
    graph = onnx_graph.load(tmp_path / "fed.onnx")
    kinds = [node.op for node in graph.nodes if node.op not in ("Relu", "QuantizeLinear")]
    assert sorted(kinds) == ["Conv", "DequantizeLinear", "DequantizeLinear", "Reshape", "Reshape", "Transpose"]


def test_only_a_graph_of_quantized_pixels_is_fed(tmp_path):
    source = placed(tmp_path)
    assert reads_pixels(source) and not takes_pixels(source)
    feed_pixels(source, tmp_path / "fed.onnx")
    assert takes_pixels(tmp_path / "fed.onnx") and not reads_pixels(tmp_path / "fed.onnx")
    plain = placed(tmp_path, picture=None)
    assert not reads_pixels(plain)
    with pytest.raises(AssertionError, match="reads no pixels"):
        feed_pixels(plain, tmp_path / "never.onnx")
    assert not (tmp_path / "never.onnx").exists()


@pytest.mark.parametrize("text", [None, "", "exported by torch", "[1]", '{"pixels": 3}', "{}"])
def test_other_doc_strings_say_nothing_of_pixels(text):
    assert pixels_of(text) is None


def test_a_fed_graph_is_beside_its_source(tmp_path):
    source = placed(tmp_path)
    assert fed(source) == tmp_path / "placed-pixels.onnx" and takes_pixels(fed(source))
    plain = placed(tmp_path, picture=None)
    assert fed(plain) == plain


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("block", [1, 2])
def test_the_convolution_is_the_first_thing_that_an_engine_computes(tmp_path, name, block):
    size, target = (48, 64), replace(TARGETS[name], block=block)
    graph = followed(stem(size=size))
    goal = TargetConfig(target, select(target.rule_set))
    images = [normalized(pictures(size, seed=seed)) for seed in range(2)]
    plan = complete(plan_of(graph), graph, images, [goal])
    onnx_graph.save(apply(graph, plan, goal).graph, tmp_path / "placed.onnx")
    feed_pixels(tmp_path / "placed.onnx", tmp_path / "fed.onnx")
    backend = get_backend(name)
    bundle = backend.build(tmp_path / "fed.onnx", tmp_path / "engine", BuildOptions("int8"))
    kinds = [(layer.kind, layer.precision) for layer in backend.layers(bundle) if layer.outputs]
    moved = {"Reshape", "Reorder"}  # of memory as it lies; OpenVINO lists a reorder that it does not run
    assert next(found for found in kinds if found[0] not in moved) == ("Conv", "int8")
    rgb = pictures(size)
    with backend.open(bundle) as session:
        got, again = (session.run({"image": value})[session.output_names[0]] for value in (rgb, normalized(rgb)))
    np.testing.assert_array_equal(got, again)
    if name == "onnxruntime" and not multiplies_uint8():
        return  # sums of two products overflow in 16 bits
    expected = run(tmp_path / "placed.onnx", normalized(rgb))
    assert np.abs(got - expected).mean() < 0.01 * np.ptp(expected)


def test_what_stands_before_the_pixels_is_not_in_the_report():
    applied = apply(stem(), plan_of(stem()), TargetConfig(PORTABLE, select("tensorrt")))
    assert applied.plan.skips and not any("pixels" in skip.node for skip in applied.plan.skips)
