"""deploy/bundle/advice.py: a wrong engine folder names engines that exist, and no command that trains another run."""

import json
from pathlib import Path

import pytest

from core.cli.naming import by_make
from core.errors import UserError
from deploy.bundle.advice import engines_near, rebuild
from deploy.bundle.store import read_bundle


@pytest.fixture(autouse=True)
def engines(tmp_path, monkeypatch):
    """Two engines of the run `mine`, one that `quantize` made, and a manifest that is of no engine."""
    monkeypatch.chdir(tmp_path)
    for name in ("mine/openvino-int8", "mine/onnxruntime-int8", "net/openvino-int8"):
        write(Path("engines") / name / "manifest.json", {"backend": name.split("/")[1]})
    write(Path("engines/net/quantize.json"), {"command": "pidnet-int8 quantize net.onnx --data photos"})
    write(Path("runs/mine/manifest.json"), {"stages": {}})
    write(Path("runs/mine/config.yaml"), {})


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("engines/mine/openvno-int8", "engines/mine/openvino-int8"),
        ("engines/mne/onnxruntime-int8", "engines/mine/onnxruntime-int8"),
        ("engines/nett/openvino-int8", "engines/net/openvino-int8"),
        ("runs/mine/openvino", "engines/mine/openvino-int8"),
    ],
)
def test_a_mistyped_folder_lists_the_engines_the_likeliest_first(typed, first):
    with pytest.raises(UserError, match="no engine bundle") as caught:
        read_bundle(Path(typed))
    assert caught.value.fix.startswith(f"engines: {first}, ")
    assert "runs/mine" not in caught.value.fix
    assert "make" not in caught.value.fix


def test_engines_elsewhere_are_found_beside_the_folder(tmp_path):
    write(tmp_path / "device" / "int8" / "manifest.json", {"backend": "openvino"})
    assert str(tmp_path / "device" / "int8") in engines_near(tmp_path / "device" / "int9")


def test_an_engine_is_built_again_by_what_made_it():
    config = Path("runs/mine/config.yaml")
    assert rebuild(Path("engines/mine/openvino-int8")) == f"run `{by_make('engine', config)}`"
    assert rebuild(Path("engines/net/openvino-int8")) == "run `pidnet-int8 quantize net.onnx --data photos`"
    assert rebuild(Path("elsewhere/mine/openvino-int8")) == "build it again as it was built"


def test_many_engines_are_counted():
    for number in range(9):
        write(Path("engines/many") / f"openvino-{number}" / "manifest.json", {"backend": "openvino"})
    assert engines_near(Path("engines/many/x")).endswith(" and 8 more")
