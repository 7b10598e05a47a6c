"""Headers of plans, read without TensorRT."""

import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import UserError
from deploy.bundle.plan_header import read_plan_header

ROOT = Path(__file__).parents[4]


def plan(path, magic, *version):
    """A file that begins as a plan does."""
    path.write_bytes(magic + bytes(20) + bytes(version) + b"the rest")
    return path


@pytest.mark.parametrize(
    ("magic", "version", "expected"),
    [(b"ftrt", (10, 9, 0, 34), "TensorRT 10.9.0.34"), (b"vtrt", (1, 7, 1, 116), "TensorRT-RTX 1.7.1.116")],
)
def test_kind_and_version(tmp_path, magic, version, expected):
    assert str(read_plan_header(plan(tmp_path / "m.plan", magic, *version))) == expected


@pytest.mark.parametrize("content", [b"", b"ftrt", b"ONNX" + bytes(100)])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "m.plan").write_bytes(content)
    with pytest.raises(UserError, match="not a TensorRT plan"):
        read_plan_header(tmp_path / "m.plan")


def test_no_file(tmp_path):
    with pytest.raises(UserError, match="no engine"):
        read_plan_header(tmp_path / "m.plan")


def test_command_says_what_built_a_plan(tmp_path):
    path = plan(tmp_path / "m.engine", b"vtrt", 1, 7, 1, 116)
    told = subprocess.run(
        [sys.executable, "-m", "deploy", "inspect", str(path)], cwd=ROOT, capture_output=True, text=True
    )
    assert (told.returncode, told.stdout) == (0, "built with TensorRT-RTX 1.7.1.116\n")
