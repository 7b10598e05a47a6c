"""The whole line, from a config to results.json and report.html, and the stages that run again after a change."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measure.pipeline import MEASURE_STAGE, REPORT_STAGE, bench, stage_names
from benchmarks.record.files import load
from benchmarks.record.rows import find_row
from benchmarks.report.page import write_report
from core.config import load_config
from core.console import console
from core.course import course
from core.files.paths import RunPaths

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "pidnet_s_streets.yaml"
SMALL = [
    "data.height_px=64",
    "data.width_px=96",
    "data.train_images=16",
    "data.val_images=4",
    "train.epochs=1",
    "train.crop_height_px=64",
    "train.crop_width_px=96",
    "qat.epochs=1",
    "qat.calibration.images=4",
    "deploy.backends=[openvino, onnxruntime]",
    "bench.rounds=2",
    "bench.runs_per_round=2",
    "bench.warmup_ms=0",
    "bench.throughput_ms=100",
]
FACTORY = """
from tests.nets.residual import ResidualNet


def net(num_classes):
    return ResidualNet(num_classes)
"""
BACKENDS = ("openvino", "onnxruntime")
FLOAT = {"fp32 weights", "fp32 export", "bake float-mask-bands"}
FLOAT |= {f"engine {backend}-fp32{kind}" for backend in BACKENDS for kind in ("", "-mask")}
APPLIED = {f"apply {target}" for target in ("portable", *BACKENDS)}
APPLIED |= {f"bake {backend}-pixels-mask-bands" for backend in BACKENDS}
APPLIED |= {f"feed pixels to {backend}" for backend in BACKENDS}
APPLIED |= {f"engine {backend}-int8{kind}" for backend in BACKENDS for kind in ("", "-mask")}
QUANTIZED = {"qat", *APPLIED}
DEPENDS_ON_CPU = {"engine openvino-bf16"}  # built only where the CPU has BF16 arithmetic; float, too


def running(messages):
    """Names of the stages that the pipeline says it runs."""
    names = re.findall(r"^(?:stage \d+/\d+ |  )(?!up to date)([^:\n]+)", messages, flags=re.MULTILINE)
    return set(names) - DEPENDS_ON_CPU - {MEASURE_STAGE, REPORT_STAGE}


def current(messages):
    """Names of the counted stages that the pipeline says are up to date."""
    lines = re.findall(r"^stages? [\d-]+/\d+ up to date: (.+)$", messages, flags=re.MULTILINE)
    return {name for line in lines for name in line.split(", ")} - DEPENDS_ON_CPU


def counted(names):
    """`names` without the steps that are part of a stage."""
    return {name for name in names if not name.startswith(("bake ", "feed "))}


def without_input_of(layer, plan):
    """Delete the tensor that `layer` reads from the plan file, as a user would in an editor."""
    content = json.loads(plan.read_text(encoding="utf-8"))
    names = [name for name, item in content["tensors"].items() if any(u["node"] == layer for u in item["uses"])]
    assert names
    for name in names:
        del content["tensors"][name]
    plan.write_text(json.dumps(content), encoding="utf-8")


def assert_complete(folder, run):
    """Every engine has a row, the measured ones have their numbers, and both files are there."""
    paths = RunPaths(run)
    assert (folder / paths.results / "results.json").is_file()
    report = (folder / paths.results / "report.html").read_text(encoding="utf-8")
    found = load(run)
    rows = {row.name: row for row in found.rows}
    assert found.noise.keys() == {"OpenVINO int8", "ONNX Runtime int8"}
    assert len(found.noise["OpenVINO int8"]) == rows["OpenVINO int8"].convs_total
    measured = {"OpenVINO fp32", "OpenVINO int8", "ONNX Runtime fp32", "ONNX Runtime int8"}
    assert rows.keys() == {*measured, "OpenVINO bf16"}
    for name in measured:
        row = rows[name]
        assert row.status == "ok", row.reason
        assert row.latency_ms.p50 > 0
        assert 0 <= row.score <= 100
        assert name.split()[0] in report
    assert rows["OpenVINO bf16"].status in ("ok", "unavailable")
    int8 = rows["OpenVINO int8"]
    assert int8.convs_int8 == int8.convs_total > 0
    return rows


@pytest.mark.parametrize("toolkit", ["auto", "builtin"])  # the one that trains by default, and ours
def test_line_on_a_small_network_of_one_s_own(tmp_path, monkeypatch, toolkit):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(FACTORY, encoding="utf-8")
    own = ["run=small", f"qat.toolkit={toolkit}", "model.name=custom", f"model.factory={tmp_path / 'net.py'}:net"]

    def messages(*overrides):
        config = load_config(CONFIG, [*SMALL, *own, *overrides])
        with console.capture() as captured, course(stage_names(config)):
            write_report(bench(config, "a command"))
        return captured.get()

    assert running(messages()) == FLOAT | QUANTIZED
    first = assert_complete(tmp_path, "small")
    assert first["OpenVINO int8"].agreement_simulated > 95

    if toolkit == "builtin":
        return  # what runs again depends on files and config alone, which the other case shows
    again = messages()
    assert current(again) == counted(FLOAT | QUANTIZED)
    assert running(again) == set()
    second = load("small").rows
    assert {row.name: row.score for row in second} == {name: row.score for name, row in first.items()}

    without_input_of("head", RunPaths("small").plan)
    edited = messages()
    assert running(edited) == APPLIED
    assert "qat: plan.json was edited by hand and is kept" in edited
    int8 = find_row(load("small").rows, "openvino", "int8")
    assert int8.convs_int8 == first["OpenVINO int8"].convs_int8 - 1
    mine = RunPaths("small").plan.read_bytes()

    changed = messages("qat.lr=1.0e-3")
    assert running(changed) == QUANTIZED
    assert current(changed) == counted(FLOAT)
    assert "qat: qat.lr: 0.0002 → 0.001" in changed
    assert RunPaths("small").plan.with_name("plan.edited.json").read_bytes() == mine

    skipped = messages("qat.lr=1.0e-3", "placement.skip=[head]")
    assert running(skipped) == QUANTIZED
    assert current(skipped) == counted(FLOAT)
    found = load("small")
    int8 = find_row(found.rows, "openvino", "int8")
    assert int8.convs_int8 == int8.convs_total - 1
    layers = {layer.modules: layer for layer in found.layers["OpenVINO int8"] if layer.kind == "Conv"}
    head = layers.pop(("head",))
    assert "skip" in head.why_float
    assert head.scale is None
    assert all(layer.scale and layer.origin and layer.rule and layer.snr_db for layer in layers.values())


@pytest.mark.slow
def test_line_on_pidnet_s_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # results are looked up where the command wrote them

    def run(*overrides):
        settings = [word for override in (*SMALL, *overrides) for word in ("--set", override)]
        command = [sys.executable, ROOT / "benchmarks" / "run.py", "--config", CONFIG, *settings]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=600)
        assert done.returncode == 0, done.stderr
        assert "OpenVINO int8" in done.stdout
        return done.stderr

    assert running(run()) == FLOAT | QUANTIZED
    rows = assert_complete(tmp_path, "pidnet_s_streets")
    assert rows["OpenVINO int8"].convs_total == 75
    assert rows["OpenVINO int8"].engine_size_bytes < 0.4 * rows["OpenVINO fp32"].engine_size_bytes

    again = run()
    assert current(again) == counted(FLOAT | QUANTIZED)
    assert running(again) == set()

    changed = run("qat.lr=1.0e-4")  # the PTQ network ships again: what is made of it is up to date
    assert running(changed) in ({"qat"}, QUANTIZED)
    assert current(changed) >= counted(FLOAT)
