"""Engines from OpenVINO IR, which NNCF writes: the bundle opens, and its manifest describes the IR."""

import numpy as np
import pytest

from deploy.bundle.store import read_bundle
from deploy.bundle.types import BuildOptions
from deploy.targets import get_backend
from tests.nets.picture_nets import network

openvino = pytest.importorskip("openvino")


def test_a_float_and_a_fake_quantized_ir_become_bundles(tmp_path):
    model = openvino.Core().read_model(network(tmp_path / "net.onnx", outputs=("map",)))
    openvino.save_model(model, tmp_path / "float.xml", compress_to_fp16=False)
    backend = get_backend("openvino")
    backend.build(tmp_path / "float.xml", tmp_path / "float", BuildOptions("fp32"))
    found = read_bundle(tmp_path / "float").manifest
    assert found["placement"]["convolutions"] == 4 and found["placement"]["activations"] == 0
    assert found["tensors"]["inputs"] == [
        {"name": "image", "dtype": "float32", "shape": [1, 3, 32, 32], "layout": "NCHW"}
    ]
    from openvino import opset13 as ops

    conv = next(node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution")
    low, high = (np.float32([[[[value]]]]) for value in (0.0, 2.0))
    fake = ops.fake_quantize(conv.input_value(0), low, high, low, high, 256)
    conv.input(0).replace_source_output(fake.output(0))
    openvino.save_model(model, tmp_path / "fake.xml", compress_to_fp16=False)
    backend.build(tmp_path / "fake.xml", tmp_path / "fake", BuildOptions("int8"))
    counted = read_bundle(tmp_path / "fake").manifest["placement"]
    assert (counted["activations"], counted["unsigned_activations"], counted["weights"]) == (1, 1, 0)
    with backend.open(read_bundle(tmp_path / "fake")) as session:
        assert session.run({"image": np.ones((1, 3, 32, 32), np.float32)})["map"].shape == (1, 5, 32, 32)
