"""The examples that readers of the documentation copy, run as it says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from core.config import load_config
from qat.models import build_model

ROOT = Path(__file__).parents[2]
STREETS = ROOT / "configs/pidnet_s_streets.yaml"


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def config_of(example: str, folder: Path, **changes: object) -> Path:
    """The example's config with its results below `folder`."""
    values = yaml.safe_load((ROOT / "examples" / example / "config.yaml").read_text())
    values |= {"output_file": str(folder / "best.pt"), **changes}
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    return folder / "config.yaml"


@pytest.mark.slow
def test_the_classifier_meets_its_tolerance_on_an_engine(tmp_path) -> None:
    pytest.importorskip("openvino")
    example = shutil.copytree(ROOT / "examples/sensitivity_classifier", tmp_path / "example")
    assert run(example / "train.py").returncode == 0
    config = config_of("sensitivity_classifier", tmp_path, model_path=str(example / "fp32.pt"))
    done = run("sensitivity_analysis.py", "--config", config)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "best.sensitivity/results.json").read_text())
    assert found["met"] and (tmp_path / "best.pt").is_file()
    assert found["baseline"]["float_metric"] > 80 and found["baseline"]["images"] == 256
    assert found["engine"]["convs_int8"] == found["engine"]["convs_total"] == 5


@pytest.mark.slow
def test_pidnet_is_analysed_whole(tmp_path) -> None:
    torch.manual_seed(0)
    torch.save(build_model(load_config(STREETS).model, augment=True).state_dict(), tmp_path / "fp32.pt")
    few = {"images": 4, "exact_top": 2, "screen_images": 1, "calibration": {"images": 2}}
    config = config_of(
        "sensitivity_pidnet", tmp_path, model_path=str(tmp_path / "fp32.pt"), tolerance=100.0, engine=None, **few
    )
    done = run("sensitivity_analysis.py", "--config", config)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "best.sensitivity/results.json").read_text())
    assert len(found["groups"]) == 79 and len(found["ranges"]) > 79
    assert found["baseline"]["metric"] == "mIoU" and found["baseline"]["images"] == 4
    assert list(found["per_class"]["quantized"])[:2] == ["sky", "building"]
    assert sum(group["exact"] is not None for group in found["groups"]) == 2
