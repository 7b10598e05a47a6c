"""Every pair of recipe settings, in one process and in two: training ends, agrees everywhere, and resumes exactly."""

import json
import os
import subprocess
import sys
from itertools import combinations, product
from pathlib import Path

import pytest
import torch

from core.config import QatConfig
from core.files.paths import RunPaths
from tests.small_line import CONFIG, settings
from tests.unit.qat.recipes.matrix_script import EPOCHS, FACTORS, ROWS, outcome

ROOT = Path(__file__).parents[4]
SCRIPT = Path(__file__).with_name("matrix_script.py")
TOOLKITS = ("auto", "builtin")  # the default toolkit, and this project's


def launch(processes, *command, cwd=ROOT):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)] * (processes > 1)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, *launcher, *map(str, command)]
    return subprocess.run(words, env=environment, cwd=cwd, capture_output=True, text=True, timeout=540)


def test_rows_cover_every_pair_of_settings():
    for (one, ours), (other, theirs) in combinations(FACTORS.items(), 2):
        for pair in product(ours, theirs):
            assert any((row[one], row[other]) == pair for row in ROWS), (one, other, pair)
    for row in ROWS:
        QatConfig(epochs=EPOCHS, **row)
    assert len(ROWS) < 16


def assert_ends_alike(row, settings):
    assert len({*row["straight"], *row["resumed"]}) == 1, settings
    assert row["ready"], settings
    assert row["epochs"] == (2 if settings["early_stop_epochs"] else EPOCHS), settings


@pytest.mark.parametrize("toolkit", TOOLKITS)
@pytest.mark.parametrize("number", range(len(ROWS)))
def test_every_pair_of_settings_ends_alike_after_an_interruption(tmp_path, number, toolkit):
    assert_ends_alike(outcome(tmp_path, {**ROWS[number], "toolkit": toolkit}), ROWS[number])


@pytest.mark.slow
@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_every_pair_of_settings_ends_alike_on_both_processes_and_after_an_interruption(tmp_path, toolkit):
    done = launch(2, SCRIPT, tmp_path, toolkit)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(rows) == len(ROWS)
    for row in rows:
        assert len(row["straight"]) == 2
        assert_ends_alike(row, row["settings"])


@pytest.mark.slow
@pytest.mark.parametrize("approach", ["stats_only", "direct"])
def test_two_processes_learn_the_scales_that_one_learns_from_the_same_images(tmp_path, approach):
    plain = {"batch_norm_steps": 0, "clip_norm": None, "ema_decay": None, "early_stop_epochs": None}
    same = {"approach": approach, "distill": {"weight": 1.0, "labels": False}, **plain}
    found = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        spec = {"folder": str(folder), "qat": {**same, "batch_size": 2 // processes}, "kill_at": None}
        done = launch(processes, SCRIPT.with_name("qat_script.py"), json.dumps(spec))
        assert done.returncode == 0, done.stderr
        found.append(torch.load(folder / "qat.pt", weights_only=True))
    one, two = found
    scales = [name for name in one if name.endswith(".amax")]
    assert len(scales) == 13
    for name in scales:
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-5)
    assert {one[name]["mode"] for name in one if name.endswith("_extra_state")} == {"learn"}


@pytest.mark.slow
def test_two_processes_calibrate_as_one_does(tmp_path):
    words = [word for override in settings(tmp_path) for word in ("--set", override)]
    found = []
    for processes in (1, 2):
        run = ["--set", f"run=by{processes}", "--set", "qat.calibration.method=entropy"]
        done = launch(processes, "-m", "qat", "calibrate", "--config", CONFIG, *words, *run, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        found.append(torch.load(tmp_path / RunPaths(f"by{processes}").calibrated_checkpoint, weights_only=True))
    one, two = found
    for name, value in one.items():
        assert torch.equal(value, two[name]) if isinstance(value, torch.Tensor) else value == two[name], name


@pytest.mark.slow
def test_the_whole_line_in_two_processes(tmp_path):
    recipe = ["qat.approach=direct", "qat.batch_size=1", "qat.ema_decay=0.8", "qat.early_stop_epochs=1", "qat.epochs=4"]
    words = [word for override in [*settings(tmp_path), *recipe] for word in ("--set", override)]
    done = launch(2, "-m", "qat", "run", "--config", CONFIG, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    paths = RunPaths("small")
    assert all((tmp_path / path).is_file() for path in (paths.qat_checkpoint, paths.qdq_onnx, paths.simulated_score))
    again = launch(2, "-m", "qat", "run", "--config", CONFIG, *words, cwd=tmp_path)
    assert again.returncode == 0 and "stage 3/4 qat" not in again.stderr
