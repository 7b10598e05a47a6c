from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from qat.sensitivity import load
from tests.sensitivity import small_classifier

ROOT = Path(__file__).parents[2]
FRAGILE = "3"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "fp32.pt"
    small_classifier.train(path)
    return path


def run(folder: Path, weights: Path, **keys: object) -> subprocess.CompletedProcess[str]:
    """The command as a user gives it."""
    config = {
        "model_path": str(weights),
        "data_path": str(folder),
        "output_file": str(folder / "best.pt"),
        "model_file": str(ROOT / "tests/sensitivity/small_classifier.py"),
        **keys,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "sensitivity_analysis.py", "--config", str(folder / "config.yaml")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_fragile_layer_stays_float_and_the_model_comes_back(tmp_path: Path, weights: Path) -> None:
    pytest.importorskip("openvino")
    done = run(tmp_path, weights, tolerance=0.02, engine={"rounds": 2, "runs_per_round": 2, "pareto_points": 2})
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "best.sensitivity/results.json").read_text())
    assert found["met"] and found["units"][0]["name"] == FRAGILE and FRAGILE in found["chosen"]["skip"]
    assert found["engine"]["convs_total"] == 2 and found["engine"]["convs_int8"] < 2
    assert abs(found["engine"]["loss"] - found["engine"]["simulated_loss"]) < 0.05
    assert (tmp_path / "best.sensitivity/report.html").is_file()
    model = load(tmp_path / "best.pt", small_classifier.get_model())
    batches = small_classifier.get_data_loader("val")
    with torch.no_grad():
        losses = [torch.nn.functional.cross_entropy(model(images), labels) for images, labels in batches]
    assert float(torch.stack(losses).mean()) == pytest.approx(found["engine"]["simulated_loss"], abs=1e-4)


@pytest.mark.slow
def test_a_missed_tolerance_is_exit_code_1_and_no_best_model(tmp_path: Path, weights: Path) -> None:
    done = run(tmp_path, weights, tolerance=1e-9, tolerance_kind="loss", engine=None, recover={"steps": 2})
    assert done.returncode == 1 and "MISSED" in done.stderr
    assert not (tmp_path / "best.pt").exists() and (tmp_path / "best.unmet.pt").is_file()
    found = json.loads((tmp_path / "best.sensitivity/results.json").read_text())
    assert found["met"] is False and found["recovered"]["steps"] == 2
