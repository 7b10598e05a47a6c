"""core/cli/naming.py: commands as the reader can type them."""

import sys
from pathlib import Path

import pytest

from core.cli import naming
from core.cli.naming import by_make, command, words_after
from core.files.paths import ROOT


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An environment below the current folder whose `bin` is not on the PATH."""
    monkeypatch.chdir(tmp_path)
    program = tmp_path / ".venv" / "bin" / "pidnet-int8"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program.with_name("python")))
    monkeypatch.setenv("PATH", "/nowhere")
    return program


def test_a_program_off_the_path_is_named_with_its_path(installed, monkeypatch):
    assert command("run", "an engine") == ".venv/bin/pidnet-int8 run 'an engine'"
    monkeypatch.setenv("PATH", str(installed.parent))
    assert command("run") == "pidnet-int8 run"


def test_without_an_installed_program_the_module_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert command("run") == "python -m benchmarks run"


def test_make_is_named_only_where_its_makefile_is(installed, monkeypatch):
    monkeypatch.setenv("PATH", str(installed.parent))
    Path("Makefile").write_text("all:\n")  # the user's own
    assert by_make("engine", Path("runs/a b/config.yaml")) == "pidnet-int8 engine --config 'runs/a b/config.yaml'"
    assert by_make("setup") == "pip install pidnet-int8"
    monkeypatch.chdir(ROOT)
    assert by_make("engine") == "make engine"
    assert by_make("engine", Path("c.yaml")) == "make engine CONFIG=c.yaml"


def test_every_make_target_in_a_message_has_a_verb():
    from benchmarks.__main__ import find

    assert all(find(target) for target in ("bench", "qat", "engine", "ship", "peers", "report", "doctor"))
    assert naming._INSTALL.keys() == {"setup", "peers"}


def test_words_after_the_verb(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pidnet-int8", "quantize", "a.onnx"])
    assert words_after("quantize") == ["a.onnx"]
    monkeypatch.setattr(sys, "argv", ["quantizers.py", "a.onnx"])
    assert words_after("quantizers") == ["a.onnx"]
