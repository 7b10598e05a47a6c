"""The output of `python -m deploy place` for people and machines, and the layer-by-layer comparison."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from deploy.apps.dot import to_dot
from deploy.checks.layer_snr import layer_snr
from deploy.checks.parity import HIGHEST_SNR_DB
from deploy.graph import onnx_graph
from tests.nets.exported import image


def run_place(exported, tmp_path, *options):
    np.save(tmp_path / "c.npy", image())
    target = tmp_path / "o.onnx"
    command = [sys.executable, "-m", "deploy", "place", exported.qdq, target, *options]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return target, done.stdout


@pytest.fixture(scope="module")
def written(exported, tmp_path_factory):
    """(target, stdout) of one call with everything on."""
    folder = tmp_path_factory.mktemp("place")
    options = ["--target", "onnxruntime", "--calibration", folder / "c.npy", "--report", "--dot", folder / "o.dot"]
    return run_place(exported, folder, *options)


def test_report_on_paper(written):
    _, text = written
    assert "observed" in text and "integer-pointwise" in text and "scale" in text.splitlines()[1]


def test_report_for_machines(written):
    target, _ = written
    report = json.loads(target.with_suffix(".placement.json").read_text())
    used = {name: tensor for name, tensor in report["tensors"].items() if tensor["uses"]}
    assert all(np.min(tensor["scale"]) > 0 and tensor["origin"] for tensor in used.values())
    assert {use["rule"] for tensor in used.values() for use in tensor["uses"]} >= {"weighted-ops"}
    assert "observed" in {tensor["origin"] for tensor in used.values()}
    assert all(skip["why"] for skip in report["skips"])


def test_dot_names_every_operator_and_rule(written):
    target, _ = written
    text = target.with_suffix(".dot").read_text()
    graph = onnx_graph.load(target)
    operators = [node for node in graph.nodes if "Quantize" not in node.op and "Dequantize" not in node.op]
    assert all(f"{node.op}\\n{node.name}" in text for node in operators)
    assert text.count("->") == sum(len(t.outputs) for n in graph.nodes for t in n.outputs) + len(
        graph.inputs[0].outputs
    ) + len(graph.outputs)
    assert "integer-pointwise" in text and "uint8" in text


def test_dot_is_read_by_graphviz(exported, tmp_path):
    if shutil.which("dot") is None:
        pytest.skip("Graphviz is not installed")
    source = tmp_path / "g.dot"
    source.write_text(to_dot(onnx_graph.load(exported.placed), exported.plan))
    subprocess.run(["dot", "-Tsvg", source, "-o", tmp_path / "g.svg"], check=True)


def test_layers_of_the_same_graph_are_equal(exported):
    layers = layer_snr(exported.placed, exported.placed, [image()])
    assert len(layers) == 6 and {layer.snr_db for layer in layers} == {HIGHEST_SNR_DB}


def test_a_wrong_scale_shows_first_in_its_own_layer(exported, tmp_path):
    graph = onnx_graph.load(exported.placed)
    (conv,) = (node for node in graph.nodes if node.name == "blocks.1.conv1")
    conv.inputs[1].inputs[0].inputs[1].values *= np.float32(1.5)
    onnx_graph.save(graph, tmp_path / "wrong.onnx")
    layers = layer_snr(exported.placed, tmp_path / "wrong.onnx", [image()])
    low = [layer.node for layer in layers if layer.snr_db < 30]
    assert low[0] == "blocks.1.conv1"
    before = layers[: [layer.node for layer in layers].index(low[0])]
    assert before and {layer.snr_db for layer in before} == {HIGHEST_SNR_DB}
