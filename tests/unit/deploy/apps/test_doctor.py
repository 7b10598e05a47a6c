"""deploy/apps/doctor.py: each finding is true, and the exit code says whether anything can be built."""

import json
import sys

import pytest

from core.errors import EXIT_ENVIRONMENT, EXIT_USER_ERROR
from core.files.paths import ROOT
from deploy import __main__
from deploy.apps import doctor
from deploy.hardware import machine
from deploy.targets import title_of
from deploy.targets.base import Unavailable


def named(found: doctor.Diagnosis) -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in found.findings}


def test_every_engine_has_a_line_and_every_missing_one_a_fix(tmp_path):
    found = doctor.examine([], tmp_path)
    engines = {finding.name: finding for finding in found.findings if finding.topic == "engine"}
    assert {"OpenVINO int8", "ONNX Runtime int8", f"{title_of('tensorrt')} fp16"} <= engines.keys()
    assert set(found.runs) <= set(found.builds) <= engines.keys()
    assert all(finding.detail for finding in found.findings)
    assert all(finding.fix for finding in engines.values() if finding.state != "ok")


@pytest.mark.parametrize(("package", "warned"), [("tensorrt_rtx", True), ("tensorrt", False), (None, False)])
def test_rtx_is_told_to_ship_fp16(tmp_path, monkeypatch, package, warned):
    monkeypatch.setattr(doctor, "missing_package", lambda name: None if name == package else Unavailable("gone"))
    found = named(doctor.examine([], tmp_path)).get("TensorRT-RTX INT8")
    assert (found is not None) == warned
    if found is not None:
        assert "1.5 times the bytes" in found.detail
        assert "ship its FP16 engine" in found.fix


def test_data_sets_are_known_by_their_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "leftImg8bit").mkdir(parents=True)
    (tmp_path / "data" / "gtFine").mkdir()
    (tmp_path / "mine" / "stills" / "images").mkdir(parents=True)
    (tmp_path / "mine" / "stills" / "labels").mkdir()
    (tmp_path / "sets" / "train").mkdir(parents=True)
    (tmp_path / "sets" / "trainannot").mkdir()
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "a.yaml").write_text(f"data: {{root: {tmp_path / 'sets'}}}\n")
    (tmp_path / "configs" / "b.yaml").write_text("not: [valid")
    found = named(doctor.examine([tmp_path / "mine"]))
    assert found["camvid"].detail == str(tmp_path / "sets")
    assert found["camvid_original"].detail == str(tmp_path / "mine" / "stills")
    assert found["cityscapes"].detail == "data"


def test_data_that_is_not_there_is_said_with_a_fix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "USUAL_FOLDERS", ("data",))
    found = named(doctor.examine([tmp_path / "nothing"]))
    assert found["streets"].state == "ok"
    assert found["cityscapes"].state == "optional" and "data.root" in found["cityscapes"].fix


def test_memory_and_cores_are_read_from_the_system(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:       2097152 kB\nMemFree: 5 kB\nMemAvailable:   1048576 kB\n")
    assert machine.memory_mib(tmp_path / "meminfo") == (2048, 1024)
    assert machine.memory_mib(tmp_path / "none") is None
    for cpu, siblings in (("cpu0", "0,2"), ("cpu1", "1,3"), ("cpu2", "0,2"), ("cpu3", "1,3")):
        (tmp_path / cpu / "topology").mkdir(parents=True)
        (tmp_path / cpu / "topology" / "thread_siblings_list").write_text(siblings)
    assert machine.cpu_cores(tmp_path) == 2
    assert machine.cpu_cores(tmp_path / "none") == machine.cpu_threads()


def command(monkeypatch, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["deploy", "doctor", *options])
    return __main__.main()


def test_json_holds_every_finding(monkeypatch, capsys):
    assert command(monkeypatch, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert {"Python", "CPU", "disk", "streets", "ffmpeg"} <= {finding["name"] for finding in content["findings"]}
    assert content["builds"]


def test_table_names_what_builds_and_runs(monkeypatch, capsys):
    assert command(monkeypatch) == 0
    out = capsys.readouterr().out
    assert "builds here: " in out and "runs here: " in out and "CPU instructions" in out


def test_exit_code_when_nothing_can_be_built(monkeypatch, capsys):
    class Nothing:
        precisions = ("int8",)

        def available(self, precision):
            return Unavailable("no package", "get it")

    monkeypatch.setattr(doctor, "get_backend", lambda name: Nothing())
    assert command(monkeypatch) == EXIT_ENVIRONMENT
    assert "builds here: nothing" in capsys.readouterr().out


def test_a_folder_that_is_not_there_is_the_users_to_mend(monkeypatch, capsys, tmp_path):
    assert command(monkeypatch, "--data", str(tmp_path / "absent")) == EXIT_USER_ERROR
    assert "absent" in capsys.readouterr().err


def test_the_last_line_is_the_next_command(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    streets = doctor.Finding("data", "streets", "ok", "built in")
    doctor.print_diagnosis(doctor.Diagnosis((streets,), ("openvino int8",), ("openvino int8",)))
    assert capsys.readouterr().out.splitlines()[-1] == "Ready: run `make bench`"
    opencv = doctor.Finding("tool", "OpenCV", "missing", "reads images and video", "make setup")
    doctor.print_diagnosis(doctor.Diagnosis((streets, opencv), ("openvino int8",), ("openvino int8",)))
    assert capsys.readouterr().out.splitlines()[-1] == "Not ready: make setup"
