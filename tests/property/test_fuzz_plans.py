"""Randomly changed plans and graphs: a message refuses them, or the result is a graph that `verify` accepts."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import CalibrationConfig
from deploy.apps.place import Choices, apply_plan, make_plan, place
from deploy.plan.plan import read_placement, read_plan
from tests.property.mutations import changed, damaged, fuzz, refused_or
from tests.property.random_graphs import Builder, quantize_everything
from tests.property.test_random_placement import feeds

TARGETS = st.sampled_from(["qdq", "tensorrt", "openvino", "onnxruntime"])


def network():
    """Two convolutions, a residual sum and a classifier."""
    builder = Builder(3)
    first = builder.conv(builder.x)
    relu = builder.op("Relu", [first], first.shape)
    builder.unary("GroupedConv", relu)
    builder.join("Add", builder.tensors[-1], relu)
    builder.classifier(builder.tensors[-1])
    return builder.graph()


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A float file, its plan as JSON, and a Q/DQ file."""
    folder = tmp_path_factory.mktemp("sound")
    onnx.save(gs.export_onnx(network()), str(folder / "raw.onnx"))
    make_plan(folder / "raw.onnx", [feeds()["x"]], folder, Choices(), CalibrationConfig(method="max"))
    np.save(folder / "images.npy", feeds()["x"])
    onnx.save(gs.export_onnx(quantize_everything(network(), feeds())), str(folder / "qdq.onnx"))
    return folder


@fuzz(150)
@given(data=st.data(), target=TARGETS)
def test_plans(sound, tmp_path, data, target):
    content = data.draw(changed(json.loads((sound / "plan.json").read_bytes())))
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    refused_or(lambda: read_placement(path))
    refused_or(lambda: apply_plan(sound / "float.onnx", path, tmp_path / "out.onnx", Choices(target=target)))


@fuzz(100)
@given(data=st.data())
def test_bytes_of_plans(sound, tmp_path, data):
    path = tmp_path / "plan.json"
    path.write_bytes(data.draw(damaged((sound / "plan.json").read_bytes())))
    refused_or(lambda: read_plan(path))


@fuzz(150)
@given(data=st.data(), target=TARGETS, name=st.sampled_from(["raw.onnx", "qdq.onnx"]))
def test_bytes_of_graphs(sound, tmp_path, data, target, name):
    path, images = tmp_path / name, sound / "images.npy"
    path.write_bytes(data.draw(damaged((sound / name).read_bytes())))
    calibration = images if name == "raw.onnx" else None
    refused_or(lambda: place(path, tmp_path / "out.onnx", Choices(target=target), calibration))
