"""The config of the analysis: values are strict, and the error for an unknown key gives its new or nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import UserError
from qat.sensitivity.config import load_sensitivity_config

REQUIRED = "model_path: w.pt\ndata_path: data\noutput_file: best.pt\ntolerance: 0.1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("search: {probe_images: 4}", "search.probe_images is now search.trial_images"),
        ("engine: {backend: trt}", "engine.backend: trt is now tensorrt or tensorrt_rtx"),
        ("tolerence_kind: loss", "did you mean tolerance_kind?"),
        ("engine: {thread: 2}", "engine.thread is not a key; did you mean threads?"),
        ("seed: true", "seed must be a whole number"),
        ("seed: -1", "seed must be at least 0"),
        ("images: '8'", "images must be a whole number"),
        ("trust_pickle: 1", "trust_pickle must be true or false"),
        ("seed: 2024-01-01", "seed must be a whole number"),
        ("seed: 1\nseed: 2", "'seed' appears twice"),
        ("seed: " + "9" * 5000, "not valid YAML"),
        ("cache: " + "[" * 5000, "not valid YAML"),
        ("recover: {steps: 1, steps: 2}", "'steps' appears twice"),
    ],
)
def test_a_wrong_config_is_refused_in_words(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.yaml").write_text(f"{REQUIRED}{text}\n")
    with pytest.raises(UserError) as refused:
        load_sensitivity_config(tmp_path / "config.yaml")
    assert message in str(refused.value)


def test_a_config_may_be_nearly_empty(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(REQUIRED)
    found = load_sensitivity_config(tmp_path / "config.yaml")
    assert found.data_path == Path("data") and not found.trust_pickle and found.search.trial_images is None
