"""benchmarks/measure/layers.py: layers that INT8 takes farthest from FP32 come first."""

import shutil

import numpy as np

from benchmarks.measure.layers import layer_noise
from core.files.paths import RunPaths
from deploy.graph import onnx_graph
from tests.nets.exported import image


def test_the_layer_with_a_wrong_scale_comes_first(exported, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = RunPaths("r")
    paths.dir.mkdir(parents=True)
    shutil.copy(exported.fp32, paths.float_onnx)
    graph = onnx_graph.load(exported.placed)
    last = [node for node in graph.nodes if node.op == "Conv"][-1]
    last.inputs[1].inputs[0].inputs[1].values *= np.float32(1.5)
    onnx_graph.save(graph, paths.placed("openvino"))
    pixels = image()[0].transpose(1, 2, 0)
    images = np.clip(pixels * 255, 0, 255).astype(np.uint8)[np.newaxis]
    np.savez(paths.calibration, images=images, mean=np.zeros(3, np.float32), std=np.ones(3, np.float32))
    found = layer_noise({"OpenVINO int8": "openvino", "tensorrt int8": "tensorrt"}, paths)
    assert found.keys() == {"OpenVINO int8"}, "a graph that is not there has no layers"
    layers = found["OpenVINO int8"]
    assert layers[0].node == last.name and layers[0].snr_db < 10 < layers[-1].snr_db
    assert [layer.snr_db for layer in layers] == sorted(layer.snr_db for layer in layers)
