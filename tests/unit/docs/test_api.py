"""docs/reference/api.md: its example runs unchanged, and the path without PyTorch gives the same engine."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import api
from core.config import BenchConfig
from core.errors import UserError
from deploy.plan.plan import read_plan
from deploy.targets import get_backend

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "api.md"


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The folder that the page's example wrote, and the names that it leaves behind."""
    folder = tmp_path_factory.mktemp("api")
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert 'Path("small")' in code
    names = dict[str, object]()
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "BenchConfig", lambda: BenchConfig(rounds=3, runs_per_round=2, warmup_ms=0))
        exec(code.replace('Path("small")', f"Path({str(folder)!r})"), names)
    return folder, names


def test_the_engine_of_the_example_computes_in_int8(example):
    _, names = example
    layers = get_backend("onnxruntime").layers(names["engines"]["int8"])
    # the last one writes the float output
    assert [layer.precision for layer in layers if layer.kind == "Conv"] == ["int8", "fp32"]
    assert names["timed"].latency_ms.p50 > 0 and names["name"] == "int8"


def test_its_int8_engine_agrees_with_the_network(example):
    folder, names = example
    image = names["images"][0]
    with torch.no_grad():
        expected = names["network"](image).numpy()
    backend = get_backend("onnxruntime")
    with backend.open(api.build(folder / "onnxruntime.onnx", folder / "again", "onnxruntime")) as session:
        (got,) = session.run({session.input_names[0]: image.numpy()}).values()
    assert np.abs(got - expected).mean() < 0.01 * np.abs(expected).max()


def test_the_plan_is_the_same_without_torch(example):
    folder, names = example
    arrays = [image.numpy() for image in names["images"]]
    network, plan = api.calibrate_onnx(folder / "float.onnx", arrays, folder / "onnx")
    made, again = read_plan(names["plan"], folder / "float.onnx"), read_plan(plan, network)
    assert made.weights == again.weights and made.activations.keys() == again.activations.keys() != set()


def test_what_cannot_be_built_is_refused(example, tmp_path):
    folder, _ = example
    with pytest.raises(UserError, match="no backend 'nothing'"):
        api.build(folder / "float.onnx", tmp_path, "nothing")
    with pytest.raises(UserError, match="no engines to time"):
        api.benchmark({}, np.zeros((1, 3, 8, 8), np.float32))
