"""benchmarks/run.py and measure/pipeline.py: options, output, exit codes, and what is written."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import run
from benchmarks.measure import pipeline, validation
from benchmarks.record.files import load
from core.cli.naming import command
from core.config import Config
from core.files.paths import RunPaths
from deploy.pipeline import BuildOutcome
from deploy.targets import title_of
from deploy.targets.base import LayerInfo, Tensor
from tests.unit.benchmarks.fakes import HEIGHT, WIDTH, FakeBackend, FakeSession, Squares, built, prepare

ROOT = Path(__file__).parents[3]
CONFIG = {
    "run": "squares",
    "model": {"name": "pidnet_s", "num_classes": 3},
    "data": {"name": "streets", "height_px": HEIGHT, "width_px": WIDTH},
    "train": {"epochs": 1, "crop_height_px": HEIGHT, "crop_width_px": WIDTH},
    "qat": {"epochs": 0},
    "bench": {
        "rounds": 3,
        "runs_per_round": 2,
        "warmup_ms": 0,
        "throughput_ms": 0,
        "strip_images": 1,
        "gate_drop_points": 50.0,
    },
}


@pytest.fixture
def pipeline_run(tmp_path, monkeypatch):
    """A run whose ONNX and engines are already there; returns its INT8 session, to be made slower or worse."""
    monkeypatch.chdir(tmp_path)
    paths, int8 = RunPaths("squares"), FakeSession(clock=(10.0,))
    for path in (paths.float_onnx, paths.qdq_onnx):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"onnx")
    np.savez(paths.simulated, answers=np.stack([Squares()[index].label for index in range(5)]))
    outcomes = [
        built(Path("engines"), "onnxruntime", "fp32"),
        built(Path("engines"), "onnxruntime", "int8"),
        BuildOutcome("tensorrt", "int8", None, "unavailable", "no driver; fix: get one"),
    ]
    backend = FakeBackend("onnxruntime", {"fp32": FakeSession(clock=(40.0,)), "int8": int8})
    monkeypatch.setattr(pipeline, "ensure_onnx", lambda config: None)
    monkeypatch.setattr(pipeline, "ensure_engines", lambda config: outcomes)
    monkeypatch.setattr(pipeline, "get_backend", lambda name: backend)
    monkeypatch.setattr(validation, "dataset_of", lambda config, split: Squares())
    monkeypatch.setattr(validation, "normalize", lambda image, data: prepare(image))
    Path("config.yaml").write_text(json.dumps(Config.model_validate(CONFIG).model_dump(mode="json")))
    return int8


def called(monkeypatch, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["run.py", "--config", "config.yaml", *options])
    return run.main()


def test_table_on_stdout_and_files_beside_it(pipeline_run, monkeypatch, capsys):
    assert called(monkeypatch) == 0
    assert "ONNX Runtime int8" in capsys.readouterr().out
    found = load("squares")
    assert [row.name for row in found.rows] == [
        "ONNX Runtime fp32",
        "ONNX Runtime int8",
        f"{title_of('tensorrt')} int8",
    ]
    assert found.val_images == 5 and found.examples is not None
    assert found.artifacts.keys() >= {"runs/squares/qdq.onnx", "engines/onnxruntime-int8/engine.bin"}
    assert (RunPaths("squares").results / "report.html").is_file()


def test_what_the_machine_did_meanwhile_is_written_down(pipeline_run, monkeypatch):
    assert called(monkeypatch) == 0
    conditions = load("squares").conditions
    assert conditions.before.at_s < conditions.after.at_s
    assert conditions.before.own_cpu_s <= conditions.after.own_cpu_s


def test_json_on_stdout_is_results_json(pipeline_run, monkeypatch, capsys):
    assert called(monkeypatch, "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads((RunPaths("squares").results / "results.json").read_text())


def test_command_in_results_repeats_the_run(pipeline_run, monkeypatch):
    assert called(monkeypatch, "--set", "bench.rounds=2", "--json") == 0
    assert load("squares").command == command("bench", "--config", "config.yaml", "--set", "bench.rounds=2")


def test_gate_judges_only_when_asked(pipeline_run, monkeypatch, capsys):
    assert called(monkeypatch, "--gate") == 0
    pipeline_run.clock = (80.0,)
    assert called(monkeypatch) == 0
    assert called(monkeypatch, "--gate") == 1
    assert "ONNX Runtime int8 is slower than fp32" in capsys.readouterr().err


def test_gate_limit_on_miou_comes_from_the_config(pipeline_run, monkeypatch, capsys):
    pipeline_run.wrong_columns = 2
    assert called(monkeypatch, "--gate") == 0
    assert called(monkeypatch, "--gate", "--set", "bench.gate_drop_points=0.5") == 1
    assert "points of mIoU, limit 0.5" in capsys.readouterr().err


def test_int8_that_moves_more_bytes_is_said_everywhere(pipeline_run, monkeypatch, capsys):
    pair = [built(Path("engines"), "onnxruntime", precision) for precision in ("fp16", "int8")]
    sessions = {"fp16": FakeSession(clock=(40.0,)), "int8": pipeline_run}
    monkeypatch.setattr(pipeline, "ensure_engines", lambda config: pair)
    monkeypatch.setattr(pipeline, "get_backend", lambda name: FakeBackend("onnxruntime", sessions))

    def layers(self, bundle):
        side = {"fp16": 10, "int8": 30}[bundle.precision]
        return [LayerInfo("a", "Conv", bundle.precision, outputs=(Tensor((1, 1, side, side), "fp32"),))]

    monkeypatch.setattr(FakeBackend, "layers", layers)
    assert called(monkeypatch, "--wide", "--gate", "--set", "bench.gate_bytes_ratio=8.5") == 1
    shown = capsys.readouterr()
    assert "ONNX Runtime int8 moves 9.00 times the bytes of fp16, limit 8.5" in shown.err
    caution = "ONNX Runtime int8: INT8 moves more bytes than fp16"
    assert f"caution: {caution}" in shown.out
    found, page = load("squares"), (RunPaths("squares").results / "report.html").read_text(encoding="utf-8")
    assert [row.work.bytes_moved for row in found.rows] == [400, 3600]
    assert f"<li>{caution}" in page
    work = found.rows[1].work
    assert f"<td>{work.float_outputs}</td><td>{work.pointwise}</td><td>{work.conversions}</td>" in page
    capsys.readouterr()
    called(monkeypatch, "--gate", "--set", "bench.gate_bytes_ratio=9")
    assert "times the bytes" not in capsys.readouterr().err


def test_runs_as_a_file_from_any_folder(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), "--config", "nothing.yaml"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "no config file nothing.yaml" in answer.stderr


def test_nothing_measured_and_failed_engines_are_no_success(pipeline_run, monkeypatch, capsys) -> None:
    unavailable = BuildOutcome("tensorrt", "int8", None, "unavailable", "no driver")
    monkeypatch.setattr(pipeline, "ensure_engines", lambda config: [unavailable])
    assert called(monkeypatch) == 3
    assert "no engine could be measured here" in capsys.readouterr().err
    failed = BuildOutcome("onnxruntime", "int8", None, "failed", "no kernel")
    monkeypatch.setattr(
        pipeline, "ensure_engines", lambda config: [built(Path("engines"), "onnxruntime", "fp32"), failed]
    )
    assert called(monkeypatch) == 1
    assert "1 engines failed" in capsys.readouterr().err


def test_the_verdict_comes_first_and_last_and_the_table_fits_80_columns(pipeline_run, monkeypatch, capsys):
    assert called(monkeypatch) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Ship ONNX Runtime INT8: ")
    assert lines[-1].startswith(f"Next:   {command('run')} ")
    assert lines.count(lines[0]) == 2
    header = next(index for index, line in enumerate(lines) if line.startswith("engine "))
    assert max(map(len, lines[header : header + 3])) <= 80
