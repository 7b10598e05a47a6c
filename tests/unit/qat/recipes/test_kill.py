"""SIGKILL at any moment of the pipeline, repeatedly: the result equals an uninterrupted run's, to the last bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.files.artifacts import read_json, sha256_file
from core.files.paths import RunPaths
from tests.unit.qat.recipes.kill_script import KEPT

ROOT = Path(__file__).parents[4]
SCRIPT = Path(__file__).with_name("kill_script.py")
PATHS = RunPaths("small")


def assert_same(one, other, where=""):
    """Equal to the last bit, through containers."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one.nan_to_num(-1), other.nan_to_num(-1)), where
    elif isinstance(one, dict):
        assert list(one) == list(other), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{where}.{index}")
    else:
        assert one == other, where


def metrics(folder):
    """Every number of every step except the speed: losses depend on the generators, rates on the schedule."""
    lines = [json.loads(line) for line in (folder / PATHS.metrics).read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key != "images_per_s"} for line in lines]


@pytest.mark.parametrize(
    ("approach", "toolkit", "seed"),
    [
        ("calibrate", "auto", 1),
        pytest.param("stats_only", "auto", 2, marks=pytest.mark.slow),
        pytest.param("direct", "auto", 3, marks=pytest.mark.slow),
        pytest.param("calibrate", "builtin", 1, marks=pytest.mark.slow),
        pytest.param("direct", "builtin", 3, marks=pytest.mark.slow),
    ],
)
def test_killed_at_chosen_points_and_random_moments_the_line_ends_as_if_it_had_not_been(
    tmp_path, approach, toolkit, seed
):
    command = [sys.executable, SCRIPT, tmp_path, approach, toolkit, str(seed)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    died = json.loads(done.stdout)
    assert len(died) >= 10, died
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    for name in (PATHS.fp32_checkpoint, PATHS.qat_checkpoint, KEPT):
        ours, theirs = (torch.load(folder / name, weights_only=True) for folder in (killed, straight))
        assert_same(ours, theirs, str(name))
    assert "average" in theirs["state"]["hooks"] and "best" in theirs["state"]["hooks"]
    assert metrics(killed) == metrics(straight)
    assert read_json(killed / PATHS.simulated_score) == read_json(straight / PATHS.simulated_score)
    for name in (PATHS.float_onnx, PATHS.qdq_onnx, PATHS.plan):
        assert sha256_file(killed / name) == sha256_file(straight / name)
    assert list(killed.rglob("*.resume.pt")) == [killed / KEPT]
    assert [path.name for path in killed.rglob(".*") if path.is_file()] == [".lock"], "halves of files"
