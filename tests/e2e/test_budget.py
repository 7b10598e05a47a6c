"""The SNR budget: what INT8 spoils goes back to float, step by step, as an edit of the plan with its reason."""

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from deploy.plan.plan import BUDGET, read_plan
from tests.faults.commands import call
from tests.nets.picture_nets import network, pictures

QUICK = ("--rounds", "1", "--preset", "0to1", "--target", "openvino,onnxruntime")


@pytest.fixture
def spoiled(tmp_path, monkeypatch):
    """A network whose first weight has taps that one scale an output channel cannot serve beside the others."""
    monkeypatch.chdir(tmp_path)
    path = network(tmp_path / "net.onnx", outputs=("map",))
    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        if tensor.name == "w1":
            values = numpy_helper.to_array(tensor).copy()
            values[:, 0, 0, 0] *= 300
            tensor.CopyFrom(numpy_helper.from_array(values, "w1"))
    onnx.save(model, str(path))
    return path, pictures(tmp_path / "data", 20)


def result(tmp_path):
    return json.loads((tmp_path / "engines/net/quantize.json").read_text(encoding="utf-8"))


def test_operators_go_to_float_until_the_budget_holds(spoiled, tmp_path, capsys):
    source, images = spoiled
    assert call("deploy.__main__", "quantize", source, "--data", images, *QUICK, "--snr", "0") == 0
    plain = result(tmp_path)
    assert "in float" not in plain["decided"]
    before = min(row["fidelity"][0]["snr_db"] for row in plain["engines"] if row["precision"] == "int8")
    assert call("deploy.__main__", "quantize", source, "--data", images, *QUICK, "--snr", before + 6) == 0
    found, out = result(tmp_path), tmp_path / "engines/net"
    floats = read_plan(out / "plan.json", out / "float.onnx").measured_floats
    assert floats and all("of the output noise" in why for why in floats.values())
    assert all(node in found["decided"]["in float"] for node in floats)
    best, *others = found["recipes"]
    assert best["recipe"].endswith(f"{len(floats)} in float")
    assert best["closeness"] > max(each["closeness"] for each in others if "in float" not in each["recipe"])
    for row in found["engines"]:
        if row["precision"] == "int8":
            assert row["int8_convolutions"] < row["convolutions"]
            assert row["fidelity"][0]["snr_db"] > before
            report = json.loads((out / f"{row['backend']}.placement.json").read_text(encoding="utf-8"))
            kept = {skip["node"] for skip in report["skips"] if skip["rule"] == BUDGET}
            assert kept == set(floats)


def test_a_budget_that_holds_costs_no_trial(spoiled, tmp_path):
    source, images = spoiled
    assert call("deploy.__main__", "quantize", source, "--data", images, *QUICK, "--snr", "-99") == 0
    assert not any("in float" in each["recipe"] for each in result(tmp_path)["recipes"])
    assert np.isfinite([each["closeness"] for each in result(tmp_path)["recipes"]]).all()
