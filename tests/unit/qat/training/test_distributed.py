"""Two processes train as one does with the same global batch, and resume as one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.unit.qat.training.train_script import make_plan

ROOT = Path(__file__).parents[4]
SCRIPT = Path(__file__).with_name("train_script.py")
pytestmark = pytest.mark.slow


def launch(folder: Path, processes: int, kill_at: int | None = None) -> subprocess.CompletedProcess[str]:
    """Train with four images per step over all processes: three steps in each of two epochs."""
    spec = {
        "folder": str(folder),
        "plan": {"batch_size": 4 // processes, "checkpoint_every_steps": 2},
        "kill_at": kill_at,
        "exact_over_processes": True,
    }
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *launcher, str(SCRIPT), json.dumps(spec)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, timeout=180, capture_output=True, text=True)


def losses(folder: Path) -> list[dict[str, float]]:
    """The numbers of each step that do not depend on the clock."""
    lines = [json.loads(line) for line in make_plan(folder).metrics.read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key not in ("stage", "images_per_s")} for line in lines]


def weights(folder: Path) -> dict[str, Tensor]:
    loaded: dict[str, Tensor] = torch.load(make_plan(folder).weights, weights_only=True)
    return loaded


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run by two processes."""
    folder = tmp_path_factory.mktemp("two")
    finished = launch(folder, processes=2)
    assert finished.returncode == 0, finished.stderr
    return folder


def test_two_processes_equal_one_with_the_same_global_batch(tmp_path: Path, two: Path) -> None:
    finished = launch(tmp_path, processes=1)
    assert finished.returncode == 0, finished.stderr
    single, double = losses(tmp_path), losses(two)
    assert len(single) == len(double) == 6
    assert all(ours == pytest.approx(theirs, rel=1e-5) for ours, theirs in zip(double, single, strict=True))
    assert max(step["boundary_aware"] for step in single) > 0  # the comparison covers every term
    ours, theirs = weights(two), weights(tmp_path)
    assert all(torch.allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-6) for name in theirs)


def test_two_killed_processes_resume(tmp_path: Path, two: Path) -> None:
    assert launch(tmp_path, processes=2, kill_at=5).returncode != 0
    assert make_plan(tmp_path).resume.exists()
    assert launch(tmp_path, processes=2).returncode == 0
    assert losses(tmp_path) == losses(two)
    assert all(torch.equal(value, weights(two)[name]) for name, value in weights(tmp_path).items())
