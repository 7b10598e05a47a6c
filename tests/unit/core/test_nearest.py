"""core/nearest.py: the name, file or folder that a user probably meant."""

from pathlib import Path

import pytest

from core.nearest import did_you_mean, near_path, nearest, path_hint


def test_the_likeliest_name_comes_first_whatever_its_capitals():
    assert nearest("OPENVNO", ["onnxruntime", "openvino"]) == ["openvino"]
    assert nearest("zzz", ["onnxruntime", "openvino"]) == []


def test_where_nothing_is_alike_all_are_listed():
    assert did_you_mean("opnvino", ["openvino", "tensorrt"]) == "did you mean openvino?"
    assert did_you_mean("zzz", ["openvino", "tensorrt"]) == "there are openvino, tensorrt"
    assert did_you_mean("zzz", []) == "there are none"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("configs/camvd.yaml", "configs/camvid.yaml"),
        ("cnfigs/camvid.yaml", "configs/camvid.yaml"),
        ("configs/camvid.yaml", None),  # it is there
        ("configs/zzz", None),
        ("cnfigs/zzz.yaml", None),  # the folder alone would not help
        ("configs/camvid.yaml/below", None),  # below a file
    ],
)
def test_the_part_of_a_path_that_is_not_there_is_replaced(tmp_path, monkeypatch, typed, meant):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "camvid.yaml").touch()
    assert near_path(Path(typed)) == (meant and Path(meant))
    assert path_hint(Path(typed), "look") == (f"did you mean {meant}?" if meant else "look")
