"""`python -m deploy quantize`: other people's ONNX files and pictures to engines and one table."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from core.cli.naming import command
from deploy.apps.quantize.command import quantize, read_task
from deploy.apps.quantize.options import Options
from deploy.bundle.store import read_bundle
from deploy.checks.fidelity import fidelity
from deploy.plan.plan import read_plan
from deploy.targets import get_backend
from tests.faults.commands import call
from tests.nets.picture_nets import CLASSES, SIDE, network, pictures

ROOT = Path(__file__).parents[2]
QUICK = ("--rounds", "1", "--calibrator", "max")
ENGINES = {"openvino-fp32", "openvino-int8", "onnxruntime-fp32", "onnxruntime-int8"}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("data") / "pictures", 20)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def result(out):
    return json.loads((out / "quantize.json").read_text(encoding="utf-8"))


def test_the_closest_calibrator_is_chosen_and_every_engine_is_compared(folder, images, capsys):
    source = network(folder / "net.onnx", outputs=("map", "mask"))
    assert call("deploy.__main__", "quantize", source, "--data", images, "--rounds", "2", "--preset", "0to1") == 0
    out = folder / "engines" / "net"
    found, printed = result(out), capsys.readouterr().out
    closeness = [trial["closeness"] for trial in found["recipes"]]
    assert len(closeness) >= 8 and closeness[1:] == sorted(closeness[1:], reverse=True)
    assert found["decided"]["recipe"].startswith(found["recipes"][0]["recipe"])
    assert {"max", "moving_average", "percentile", "mse", "entropy"} < {each["recipe"] for each in found["recipes"]}
    rows = {f"{row['backend']}-{row['precision']}": row for row in found["engines"]}
    assert all(rows[name]["status"] == "ok" for name in ENGINES)
    rows = {name: row for name, row in rows.items() if row["status"] == "ok"}  # not every CPU has BF16
    for name, row in rows.items():
        assert read_bundle(out / name).manifest["meaning"]["normalization"]["mean"] == [0.0, 0.0, 0.0]
        assert row["ms"] > 0 and {each["output"] for each in row["fidelity"]} == {"map", "mask"}
        assert all(each["iou"] > 0.5 and each["agreement"] > 0.85 for each in row["fidelity"])
    assert rows["onnxruntime-fp32"]["fidelity"][0]["agreement"] == 1.0
    assert rows["openvino-int8"]["fidelity"][0]["snr_db"] < rows["openvino-fp32"]["fidelity"][0]["snr_db"]
    assert rows["openvino-int8"]["int8_convolutions"] == rows["openvino-int8"]["convolutions"] == 5
    assert max(map(len, printed.splitlines()[:6])) <= 80
    verdict = json.loads((out / "quantize.json").read_text(encoding="utf-8"))["verdict"]
    assert re.match(r"Ship [\w ]+: ", verdict) and re.search(r"\d+\.\d\d× the speed of FP32", verdict)
    assert verdict in printed and verdict in (out / "report.html").read_text(encoding="utf-8").replace("&#39;", "'")
    assert re.search(rf"^next: {command('inspect')} engines/net/\w+-int8$", printed, re.MULTILINE)
    assert "<table>" in (out / "report.html").read_text(encoding="utf-8")
    assert read_plan(out / "plan.json", out / "float.onnx").tensors


def test_the_reported_fidelity_is_that_of_the_engine_on_pictures_calibration_did_not_see(folder, images):
    source = network(folder / "net.onnx", outputs=("map",))
    options = Options(source, images, folder / "out", targets=("openvino",), calibrator="mse", rounds=1)
    row = next(row for row in quantize(options).rows if row.precision == "int8")
    parts = read_task(options).parts
    groups = [set(part.names) for part in (parts.calibrate, parts.choose, parts.test)]
    assert [len(group) for group in groups] == [12, 4, 4] and len(set.union(*groups)) == 20
    import onnxruntime

    fp32 = onnxruntime.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    with get_backend("openvino").open(read_bundle(folder / "out" / "openvino-int8")) as session:
        pairs = [({"map": fp32.run(None, {"image": x})[0]}, session.run({"image": x})) for x in parts.test]
    again = fidelity([one for one, _ in pairs], [two for _, two in pairs])[0]
    assert row.fidelity[0].agreement == pytest.approx(again.agreement)
    assert row.fidelity[0].snr_db == pytest.approx(again.snr_db, rel=1e-3)


FORMS = {
    "NHWC": {"layout": "NHWC"},
    "opset 11": {"opset": 11},
    "FP16": {"dtype": TensorProto.FLOAT16},
    "open sides": {"sides": ("n", "h", "w"), "outputs": ("map", "scores")},
    "open channels": {"channels": "c", "sides": ("n", "h", "w"), "outputs": ("mask",)},
    "batch 2": {"sides": (2, SIDE, SIDE)},
    "grey": {"channels": 1},
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_networks(form, folder, images, capfd):
    source = network(folder / "net.onnx", **FORMS[form])
    assert call("deploy.__main__", "quantize", source, "--data", images, *QUICK, "--out", "out") == 0
    rows = {f"{row['backend']}-{row['precision']}": row for row in result(folder / "out")["engines"]}
    assert all(rows[name]["status"] == "ok" for name in ENGINES), rows
    assert all(each["snr_db"] > 20 for name in ENGINES for each in rows[name]["fidelity"])
    batch = FORMS[form].get("sides", (1,))[0]
    shape = onnx.load(folder / "out" / "float.onnx").graph.input[0].type.tensor_type.shape
    assert shape.dim[0].dim_value == (batch if isinstance(batch, int) else 1)
    if form == "open sides":  # pictures are 40 pixels wide
        assert [side.dim_value for side in shape.dim] == [1, 3, 32, 32]


def test_a_size_that_the_user_names(folder, images):
    source = network(folder / "net.onnx", sides=("n", "h", "w"), outputs=("map",))
    options = Options(source, images, folder / "out", size=(24, 48))
    assert read_task(options).test[0]["map"].shape == (1, CLASSES, 24, 48)


def test_ready_inputs_and_labels_of_classes(folder, images, capsys):
    source = network(folder / "net.onnx")
    task = read_task(Options(source, images, folder / "out", preset="0to1"))
    truth = {name: int(found["scores"].argmax()) for name, found in zip(task.parts.test.names, task.test, strict=True)}
    wrong = next(iter(truth))
    truth[wrong] = (truth[wrong] + 1) % CLASSES
    with open("labels.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("picture", "class"), *truth.items()])
    command = (
        "quantize",
        source,
        "--data",
        images,
        *QUICK,
        "--out",
        "out",
        "--preset",
        "0to1",
        "--labels",
        "labels.csv",
    )
    assert call("deploy.__main__", *command) == 0
    found = result(folder / "out")
    assert found["metric"] == "top-1 %" and "top-1 %" in capsys.readouterr().out
    assert [row["score"] for row in found["engines"] if row["precision"] == "fp32"] == [75.0, 75.0]
    np.save("ready.npy", np.concatenate([*task.parts.calibrate, *task.parts.test]))
    assert call("deploy.__main__", "quantize", source, "--data", "ready.npy", *QUICK, "--out", "other") == 0


def test_label_maps_are_scored_with_one_confusion_matrix(folder, images):
    import cv2

    source = network(folder / "net.onnx", outputs=("map",))
    options = Options(source, images, folder / "out", targets=("onnxruntime",), calibrator="max", rounds=1)
    task = read_task(options)
    (folder / "labels").mkdir()
    for name, found in zip(task.parts.test.names, task.test, strict=True):
        classes = found["map"][0].argmax(0).astype(np.uint8)
        classes[:4] = 255  # counts nowhere
        cv2.imwrite(str(folder / "labels" / name), classes)
    labelled = quantize(Options(**{**vars(options), "labels": folder / "labels"}))
    scores = {row.precision: row.score for row in labelled.rows}
    assert labelled.metric == "mIoU %" and scores["fp32"] == pytest.approx(100.0)
    assert 50 < scores["int8"] < 100


def test_a_tolerance_that_is_missed_ends_with_1(folder, images, capsys):
    source = network(folder / "net.onnx", outputs=("map",))
    command = ("quantize", source, "--data", images, *QUICK, "--out", "out", "--target", "openvino")
    assert call("deploy.__main__", *command, "--tolerance", "0") == 1
    assert "OpenVINO int8 loses" in capsys.readouterr().err
    assert call("deploy.__main__", *command, "--tolerance", "50") == 0


def test_one_target_s_failure_does_not_stop_the_others(folder, images, capsys, monkeypatch):
    from deploy.targets.onnxruntime import backend

    def refuse(*_):
        raise RuntimeError("no kernel")

    monkeypatch.setattr(backend, "open_session", refuse)
    source = network(folder / "net.onnx")
    assert call("deploy.__main__", "quantize", source, "--data", images, *QUICK, "--out", "out") == 1
    rows = {f"{row['backend']}-{row['precision']}": row for row in result(folder / "out")["engines"]}
    assert rows["openvino-int8"]["ms"] > 0 and rows["onnxruntime-int8"]["status"] == "failed"
    assert "ONNX Runtime int8: failed: RuntimeError: no kernel" in capsys.readouterr().out


def test_it_runs_where_torch_is_not_installed(folder, images):
    network(folder / "net.onnx")
    program = "import runpy, sys; sys.modules['torch'] = None; runpy.run_module('deploy', run_name='__main__')"
    command = [sys.executable, "-c", program, "quantize", "net.onnx", "--data", str(images), *QUICK]
    done = subprocess.run(
        [*command, "--target", "openvino"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_next_command_says_why_a_convolution_is_in_float(folder, images, capsys):
    source = network(folder / "net.onnx", outputs=("map",))
    command = (
        "quantize",
        source,
        "--data",
        images,
        *QUICK,
        "--out",
        "out",
        "--target",
        "openvino",
        "--skip",
        "c2_Conv",
    )
    assert call("deploy.__main__", *command) == 0
    following = re.search(r"^next: .*?(inspect .*)$", capsys.readouterr().out, re.MULTILINE)[1].split()
    assert call("deploy.__main__", *following, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [conv["why"] for conv in found["float_convolutions"]] == ["config: named in placement.skip"]
