"""benchmarks/run.py and pipeline.py: options, output, exit codes, and what is written."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import pipeline, run
from benchmarks.results import load
from core.config import Config
from core.paths import RunPaths
from tests.unit.bench_fakes import HEIGHT, WIDTH, FakeBackend, FakeOutcome, FakeSession, Squares, built, prepare

ROOT = Path(__file__).parents[2]
CONFIG = {
    "run": "squares",
    "model": {"name": "pidnet_s", "num_classes": 3},
    "data": {"name": "streets", "height_px": HEIGHT, "width_px": WIDTH},
    "train": {"epochs": 0, "crop_height_px": HEIGHT, "crop_width_px": WIDTH},
    "qat": {"epochs": 0},
    "bench": {
        "rounds": 3,
        "runs_per_round": 2,
        "warmup_ms": 0,
        "throughput_ms": 0,
        "strip_images": 1,
        "gate_miou_drop": 50.0,
    },
}


@pytest.fixture
def line(tmp_path, monkeypatch):
    """A run whose ONNX and engines are already there; returns its INT8 session, to be made slower or worse."""
    monkeypatch.chdir(tmp_path)
    paths, int8 = RunPaths("squares"), FakeSession(clock=(10.0,))
    for path in (paths.float_onnx, paths.qdq_onnx):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"onnx")
    np.savez(paths.simulated, labels=np.stack([Squares()[index].label for index in range(5)]))
    outcomes = [
        built(Path("engines"), "onnxruntime", "fp32"),
        built(Path("engines"), "onnxruntime", "int8"),
        FakeOutcome("trt", "int8", None, "unavailable", "no driver; fix: get one"),
    ]
    backend = FakeBackend("onnxruntime", {"fp32": FakeSession(clock=(40.0,)), "int8": int8})
    monkeypatch.setattr(pipeline, "ensure_onnx", lambda config: None)
    monkeypatch.setattr(pipeline, "ensure_engines", lambda config: outcomes)
    monkeypatch.setattr(pipeline, "get_backend", lambda name: backend)
    monkeypatch.setattr(pipeline, "build_dataset", lambda data, split, *, seed: Squares())
    monkeypatch.setattr(pipeline, "normalize", lambda image, data: prepare(image))
    Path("config.yaml").write_text(json.dumps(Config.model_validate(CONFIG).model_dump(mode="json")))
    return int8


def called(monkeypatch, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["run.py", "--config", "config.yaml", *options])
    return run.main()


def test_table_on_stdout_and_files_beside_it(line, monkeypatch, capsys):
    assert called(monkeypatch) == 0
    assert "onnxruntime int8" in capsys.readouterr().out
    found = load("squares")
    assert [row.name for row in found.rows] == ["onnxruntime fp32", "onnxruntime int8", "trt int8"]
    assert found.val_images == 5 and found.strip is not None
    assert found.artifacts.keys() >= {"runs/squares/qdq.onnx", "engines/onnxruntime-int8/engine.bin"}
    assert (RunPaths("squares").results / "report.html").is_file()


def test_what_the_machine_did_meanwhile_is_written_down(line, monkeypatch):
    assert called(monkeypatch) == 0
    conditions = load("squares").conditions
    assert conditions.before.at_s < conditions.after.at_s
    assert conditions.before.own_cpu_s <= conditions.after.own_cpu_s


def test_json_on_stdout_is_results_json(line, monkeypatch, capsys):
    assert called(monkeypatch, "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads((RunPaths("squares").results / "results.json").read_text())


def test_command_in_results_repeats_the_run(line, monkeypatch):
    assert called(monkeypatch, "--set", "bench.rounds=2", "--json") == 0
    assert load("squares").command == "python benchmarks/run.py --config config.yaml --set bench.rounds=2"


def test_gate_judges_only_when_asked(line, monkeypatch, capsys):
    assert called(monkeypatch, "--gate") == 0
    line.clock = (80.0,)
    assert called(monkeypatch) == 0
    assert called(monkeypatch, "--gate") == 1
    assert "onnxruntime int8 is slower than fp32" in capsys.readouterr().err


def test_gate_limit_on_miou_comes_from_the_config(line, monkeypatch, capsys):
    line.wrong_columns = 2
    assert called(monkeypatch, "--gate") == 0
    assert called(monkeypatch, "--gate", "--set", "bench.gate_miou_drop=0.5") == 1
    assert "points of mIoU, limit 0.5" in capsys.readouterr().err


def test_runs_as_a_file_from_any_folder(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), "--config", "nothing.yaml"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "no config file nothing.yaml" in answer.stderr
