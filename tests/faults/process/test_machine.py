"""A machine that lacks space, permission, packages or characters; and paths that need quotes."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import pytest

from tests.faults.commands import ROOT, files_below, finish, options, start
from tests.small_line import CONFIG, settings

HIDE = """
import importlib.abc, sys


class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None


sys.meta_path.insert(0, Hidden())
sys.argv = {argv}
import runpy
runpy.run_module({program!r}, run_name="__main__")
"""


def hidden(names, program, *arguments, folder):
    """`python -m program *arguments` in an environment without the packages `names`."""
    code = HIDE.format(names=set(names), argv=[program, *map(str, arguments)], program=program)
    return finish(start("-c", code, folder=folder))


@pytest.mark.parametrize("package", ["cv2", "openvino"])
def test_run_without_a_package(engines, picture, tmp_path, package):
    done = hidden([package], "deploy", "run", "engines/openvino-fp32-mask", picture, folder=tmp_path)
    assert done.code == 3 and package in done.err and "Traceback" not in done.err, done.err


@pytest.mark.parametrize("package", ["torch", "accelerate", "cv2"])
def test_qat_without_a_package(tmp_path, package):
    done = hidden([package], "qat", "run", *options(settings(tmp_path), CONFIG), folder=tmp_path)
    done.refuses(3, f"the Python package {package} is missing")


@pytest.mark.parametrize("package", ["onnx_graphsurgeon", "onnx"])
def test_place_without_a_package(exported, tmp_path, package):
    done = hidden([package], "deploy", "place", exported.qdq, "placed.onnx", folder=tmp_path)
    done.refuses(3, f"the Python package {package} is missing")
    assert not (tmp_path / "placed.onnx").exists()


def test_inspect_without_the_record_of_an_installation(engines, tmp_path):
    lost = "from importlib import metadata\nabsent = lambda name: metadata.Distribution.from_name('no-such-package')\n"
    code = lost + "metadata.version = absent\n" + HIDE
    code = code.format(names={"none"}, argv=["deploy", "inspect", "engines/onnxruntime-fp32-mask"], program="deploy")
    finish(start("-c", code, folder=tmp_path)).refuses(3, "is missing or incomplete", "pip install")


def test_a_full_disk_ends_a_run_with_a_message_and_keeps_its_files(tmp_path, qat):
    arguments = ("-m", "qat", "train", *options(settings(tmp_path), CONFIG))

    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    finish(start(*arguments, folder=tmp_path, before=full)).refuses(3, "cannot be written", "make room on that disk")
    hidden_files = [Path(name).name for name in files_below(tmp_path / "runs") if Path(name).name.startswith(".")]
    assert hidden_files == [".lock"]
    assert qat("train").code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission(tmp_path, qat):
    (tmp_path / "runs").mkdir(mode=0o500)
    qat("run").refuses(3, "Permission denied")


def test_a_file_where_a_folder_is_needed(qat, tmp_path):
    (tmp_path / "runs").write_text("a file")
    done = qat("run")
    assert done.code in (2, 3) and "Traceback" not in done.err and "error: " in done.err, done.err
    assert (tmp_path / "runs").read_text() == "a file"


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_streams_that_lack_characters(engines, tmp_path, encoding):
    bundle = "engines/openvino-fp32-mask"
    for arguments in (("inspect", bundle), ("rules",), ("run", bundle, "…absent.png")):
        process = start("-m", "deploy", *arguments, folder=tmp_path, PYTHONIOENCODING=encoding, text=False)
        out, err = process.communicate(timeout=60)
        assert b"Traceback" not in err, err
        assert process.returncode == (2 if "run" in arguments else 0) and (out or err)


def test_a_reader_that_leaves_is_no_error(engines, tmp_path):
    process = start("-m", "deploy", "rules", folder=tmp_path)
    process.stdout.close()
    process.stdout = None
    assert "Traceback" not in process.communicate(timeout=60)[1]


@pytest.mark.parametrize("data", ["/a b/it's", '/x "y"', "/c: d #1", "/e$HOME"])
def test_make_passes_any_path_on(tmp_path, data):
    """`make qat` with a `python` that prints what it gets."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    (tmp_path / ".ready").touch()
    os.utime(tmp_path / ".ready", (2**32, 2**32))
    made = subprocess.run(
        ["make", "-s", "-C", ROOT, "qat", f"VENV={tmp_path}", f"DATA={data}"], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    override = made.stdout.splitlines()[-1]
    from core.config import load_config

    assert load_config(CONFIG, [override]).data.root == Path(data)
