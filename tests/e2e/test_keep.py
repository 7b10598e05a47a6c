"""QAT ships only where it repairs PTQ: prepared networks and labels, on the default toolkit."""

from __future__ import annotations

import json

import pytest
import torch

from core.config import load_config
from core.files.artifacts import read_json, sha256_file
from core.files.paths import RunPaths
from qat.pipeline import run as pipeline
from qat.pipeline.single_steps import score
from tests.nets.uneven import UnevenNet, unevened
from tests.uneven_line import CONFIG, NETS, REPAIRS, SPREAD, config_of, options

NOISE = ["data.name=custom", "data.train_images=null", "data.val_images=null", "qat.epochs=3", "qat.lr=0.003"]
PATHS = RunPaths("case")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_uneven_channels_change_nothing_in_float():
    torch.manual_seed(0)
    network, other = UnevenNet(11), UnevenNet(11)
    other.load_state_dict(unevened(network.state_dict(), 100.0))
    image = torch.randn(1, 3, 48, 64)
    torch.testing.assert_close(other(image), network(image), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("approach", ["calibrate", "stats_only", "direct"])
def test_where_ptq_fails_the_trained_network_ships(uneven_weights, caplog, approach):
    own = [*REPAIRS, f"qat.approach={approach}", "qat.freeze_last_epochs=2"]
    pipeline.ensure(config_of(uneven_weights, SPREAD, *own))
    decision = read_json(PATHS.decision)
    tuning = decision["tuning"]
    assert tuning["ptq"]["metric"] < tuning["fp32"]["metric"] - 3
    assert tuning["qat"]["metric"] > tuning["ptq"]["metric"] + 2
    assert decision["ships"] == "qat"
    assert decision["qat_minus_ptq_engines"]["openvino"]["metric"]["low"] > 0
    assert not PATHS.refused_checkpoint.exists()
    assert "QAT gained on the tuning split" in caplog.text
    lines = [json.loads(line) for line in PATHS.metrics.read_text(encoding="utf-8").splitlines()]
    assert [line["ships"] for line in lines if line["stage"] == "decision"] == ["qat"]
    assert len([line for line in lines if "tuning_score" in line]) == 6


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["random_labels", "swapped_labels"])
def test_where_labels_are_wrong_ptq_ships_bit_for_bit(uneven_weights, caplog, labels):
    own = options(uneven_weights, 1.0, *NOISE, f"data.factory={NETS / 'noisy_streets.py'}:{labels}")
    config = load_config(CONFIG, [*own, "qat.distill.weight=0"])
    pipeline.ensure(config)
    decision = read_json(PATHS.decision)
    assert decision["ships"] == "ptq"
    assert "the PTQ network ships" in caplog.text
    if labels == "swapped_labels":  # a gain on the tuning split, but not in fidelity to FP32
        assert decision["qat_minus_ptq"]["metric"]["low"] > 0
    assert score(config, PATHS.refused_checkpoint).value < score(config, PATHS.qat_checkpoint).value - 1
    shipped = [sha256_file(path) for path in (PATHS.plan, PATHS.trained_onnx, PATHS.qdq_onnx)]
    pipeline.ensure(load_config(CONFIG, [*own, "qat.epochs=0"]))
    assert read_json(PATHS.decision)["ships"] == "ptq"
    assert [sha256_file(path) for path in (PATHS.plan, PATHS.trained_onnx, PATHS.qdq_onnx)] == shipped
