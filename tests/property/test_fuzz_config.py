"""Randomly changed configs: each loads or is refused by a message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from core.config import load_config
from qat.sensitivity.config import load_sensitivity_config
from tests.property.mutations import VALUES, changed, damaged, fuzz, refused_or

ROOT = Path(__file__).parents[2]
SOUND = ROOT / "configs" / "pidnet_s_streets.yaml"
TEXT = SOUND.read_bytes()
CONFIG = yaml.safe_load(TEXT)
CONFIG |= {
    "placement": {"skip": ["head.*"], "only": [], "custom": [], "disable": ["gates"]},
    "deploy": {"backends": ["openvino"], "opset": 18},
    "bench": {"rounds": 3, "sweep": {"enabled": False}},
}
SENSITIVITY = {
    "model_path": "fp32.pt",
    "data_path": "data",
    "output_file": "best.pt",
    "model_file": "my_model.py",
    "tolerance": 0.01,
    "engine": {"rounds": 2, "runs_per_round": 2},
}
# Keys that most `--set` options should hit, to test values and not only names.
KEYS = st.sampled_from(["seed", "run", "data.std", "qat.lr", "train.epochs", "deploy.backends", "a.b", "data", "", "."])


@pytest.fixture
def file(tmp_path):
    return tmp_path / "config.yaml"


@fuzz(250)
@given(value=changed(CONFIG))
def test_values(file, value):
    file.write_text(json.dumps(value), encoding="utf-8")  # JSON is YAML
    refused_or(lambda: load_config(file))


@fuzz(200)
@given(content=damaged(TEXT))
def test_bytes(file, content):
    file.write_bytes(content)
    refused_or(lambda: load_config(file))


@fuzz(200)
@given(overrides=st.lists(st.builds("{}={}".format, KEYS, VALUES.map(repr)) | st.text(max_size=20), max_size=3))
def test_overrides(overrides):
    refused_or(lambda: load_config(SOUND, overrides))


@fuzz(150)
@given(value=changed(SENSITIVITY))
def test_sensitivity_values(file, value):
    file.write_text(json.dumps(value), encoding="utf-8")
    refused_or(lambda: load_sensitivity_config(file))


@fuzz(100)
@given(content=damaged(yaml.safe_dump(SENSITIVITY).encode()))
def test_sensitivity_bytes(file, content):
    file.write_bytes(content)
    refused_or(lambda: load_sensitivity_config(file))
