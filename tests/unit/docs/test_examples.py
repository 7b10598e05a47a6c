"""examples/my_model.py through trace, quantizers, export and placement; examples/training_loop.py unchanged."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import torch

from core.config import ModelConfig, load_config
from deploy.checks.verify import verify
from deploy.graph import onnx_graph
from deploy.placement.rules import RULES
from qat.calibration.approaches import finish, prepare
from qat.export import export_onnx
from qat.models import build_model
from qat.quantization.insert import insert
from qat.tracing import fx_graph
from tests.nets.exported import reference
from tests.nets.placing import place

ROOT = Path(__file__).parents[3]


def test_my_model_becomes_a_placed_int8_graph(tmp_path):
    torch.manual_seed(0)
    factory = f"{ROOT / 'examples' / 'my_model.py'}:build"
    model = build_model(ModelConfig(name="custom", num_classes=4, factory=factory), augment=False)
    images = [torch.randn(2, 3, 32, 48) for _ in range(2)]
    traced = fx_graph.trace(model, images[0][:1])
    insert(traced, RULES)
    prepare(traced, load_config(ROOT / "configs/pidnet_s_streets.yaml").qat, images)
    finish(traced)
    export_onnx(traced, images[0][:1], tmp_path / "qdq.onnx", 18)
    placed = place(tmp_path / "qdq.onnx", RULES)
    onnx_graph.save(placed.graph, tmp_path / "placed.onnx")
    verify(tmp_path / "placed.onnx", placed.plan)
    kinds = [node.op for node in placed.graph.nodes]
    assert len(placed.plan.weights) == kinds.count("Conv") + kinds.count("ConvTranspose") == 11
    image = images[1][:1]
    with torch.no_grad():
        expected = traced(image).numpy()
    got = reference(tmp_path / "placed.onnx", {"image": image.numpy()})
    assert got.shape == (1, 4, 16, 24)
    assert np.abs(got - expected).mean() < 0.02 * np.abs(expected).max()


def test_training_loop_ends_with_a_graph_that_computes_what_was_trained(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("training_loop", ROOT / "examples" / "training_loop.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main(tmp_path)
    text = capsys.readouterr().out
    losses = [float(loss) for loss in re.findall(r"loss (\S+)", text)]
    assert losses[1] < 1.2 * losses[0] < 0.6, "log 3 = 1.1 would be guessing"
    assert len(re.findall("→ maximum.* in INT8 by maximum", text)) == 2
    assert "→ head" not in text
    image, label = example.batch(seed=5)
    found = reference(tmp_path / "placed.onnx", {"image": image[:1].numpy()}).argmax(1)
    assert (found == label[:1].numpy()).mean() > 0.8
