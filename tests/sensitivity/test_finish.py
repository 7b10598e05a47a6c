from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from qat.sensitivity import load
from tests.sensitivity import small_classifier
from tests.sensitivity.users import whole_line

ROOT = Path(__file__).parents[2]
FRAGILE = "3"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "fp32.pt"
    small_classifier.train(path)
    return path


def command(folder: Path, weights: Path, processes: int = 1, **keys: object) -> list[str]:
    """The user's command line; the config is written."""
    config = {
        "model_path": str(weights),
        "data_path": str(folder),
        "output_file": str(folder / "best.pt"),
        "model_file": str(ROOT / "tests/sensitivity/small_classifier.py"),
        **keys,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    return [sys.executable, *several, "sensitivity_analysis.py", "--config", str(folder / "config.yaml")]


def run(folder: Path, weights: Path, processes: int = 1, **keys: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    line = command(folder, weights, processes, **keys)
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_fragile_layer_stays_float_and_the_model_comes_back(tmp_path: Path, weights: Path) -> None:
    pytest.importorskip("openvino")
    done = run(tmp_path, weights, tolerance=0.02, engine={"rounds": 2, "runs_per_round": 2, "pareto_points": 2})
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "best.sensitivity/results.json").read_text())
    assert found["met"] and found["groups"][0]["name"] == FRAGILE and FRAGILE in found["chosen"]["skip"]
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


def results(folder: Path) -> dict[str, Any]:
    """results.json without times and paths."""
    found = json.loads((folder / "best.sensitivity/results.json").read_text())
    for key in ("cost", "command", "model", "environment"):
        del found[key]
    return found


@pytest.mark.slow
def test_an_old_model_is_not_left_as_the_best_of_a_run_that_missed(tmp_path: Path, weights: Path) -> None:
    assert run(tmp_path, weights, tolerance=0.02, engine=None).returncode == 0
    first = (tmp_path / "best.pt").read_bytes()
    assert run(tmp_path, weights, tolerance=1e-9, tolerance_kind="loss", engine=None).returncode == 1
    assert sorted(path.name for path in tmp_path.glob("best*.pt")) == ["best.previous.pt", "best.unmet.pt"]
    assert (tmp_path / "best.previous.pt").read_bytes() == first
    assert run(tmp_path, weights, tolerance=0.02, engine=None).returncode == 0
    assert not (tmp_path / "best.unmet.pt").exists() and (tmp_path / "best.pt").is_file()


@pytest.mark.slow
def test_two_processes_leave_what_one_does(tmp_path: Path, weights: Path) -> None:
    pytest.importorskip("openvino")
    engine = {"rounds": 2, "runs_per_round": 2, "pareto_points": 0}
    folders = tmp_path / "one", tmp_path / "two"
    for folder, processes in zip(folders, (1, 2), strict=True):
        folder.mkdir()
        done = run(folder, weights, processes=processes, tolerance=0.02, engine=engine, recover={"steps": 2})
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("tolerance met") == 1
    one, two = (results(folder) for folder in folders)
    for found in (one, two):
        for timed in ("latency_ms", "speedup_vs_float"):
            del found["engine"][timed]
    assert one == two
    one_files, two_files = ({path.name for path in folder.glob("best*")} for folder in folders)
    assert one_files - two_files == set() and two_files - one_files == {"best.trials.1.jsonl"}
    states = [torch.load(folder / "best.pt", weights_only=True)["state_dict"] for folder in folders]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]) if isinstance(value, torch.Tensor) else value == states[1][name]


@pytest.mark.slow
def test_runs_killed_in_every_phase_end_as_one_that_was_not(tmp_path: Path, weights: Path) -> None:
    pytest.importorskip("openvino")
    keys = {"tolerance": 0.02, "engine": {"rounds": 2, "runs_per_round": 2, "pareto_points": 2}}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir(), killed.mkdir()
    assert run(whole, weights, **keys).returncode == 0
    trials, folder = killed / "best.trials.0.jsonl", killed / "best.sensitivity"
    phases = (trials, folder / "qdq.onnx", folder / "engines", folder / "latency.json")
    for phase in phases:
        before = trials.read_bytes() if trials.exists() else b""
        kill_when(phase, killed, weights, **keys)
        assert not (killed / "best.pt").exists() and trials.read_bytes().startswith(before)
    kept = set(trials.read_bytes().splitlines())
    assert run(killed, weights, **keys).returncode == 0
    lines = [json.loads(line) for line in trials.read_bytes().splitlines() if whole_line(line)]
    known = [(line["set"], image) for line in lines if "set" in line and line["distances"] for image in line["images"]]
    assert len(known) == len(set(known)) and kept <= set(trials.read_bytes().splitlines())
    one, other = results(whole), results(killed)
    assert one["groups"] == other["groups"] and one["baseline"] == other["baseline"]
    assert one["chosen"] == other["chosen"] and one["met"] == other["met"]


def kill_when(file: Path, folder: Path, weights: Path, **keys: object) -> None:
    """Start the analysis and kill it as soon as `file` is there."""
    process = subprocess.Popen(command(folder, weights, **keys), cwd=ROOT, stdout=subprocess.DEVNULL)
    while not file.exists() and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -9
