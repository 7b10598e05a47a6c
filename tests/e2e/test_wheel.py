"""The wheel: everything that is not Python is in it, its dependencies are the pinned ones, and it runs alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from core.config import load_config
from tests.e2e.test_line import SMALL

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "deploy", "qat", "benchmarks")
BACKENDS = ("openvino", "onnxruntime")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy: setuptools writes beside its sources."""
    folder = tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns("__pycache__", "results")
    for name in (*PACKAGES, "configs", "requirements"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=unwanted)
    for name in ("pyproject.toml", "LICENSE", "sensitivity_analysis.py"):
        shutil.copy(ROOT / name, folder / "source")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    done = subprocess.run([*build, folder, folder / "source"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


def pinned(*files: str) -> dict[str, set[str]]:
    """Versions by name of the requirements that hold for this Python."""
    found: dict[str, set[str]] = {}
    for name in files:
        for line in (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines():
            text = line.split("#")[0].strip()
            if text and not text.startswith("-r"):
                requirement = Requirement(text)
                found.setdefault(requirement.name, set()).add(str(requirement.specifier).removeprefix("=="))
    return found


def test_holds_every_file_of_the_packages_and_nothing_else(wheel):
    expected = {
        path.relative_to(ROOT).as_posix()
        for name in (*PACKAGES, "configs")
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and "results" not in path.parts
    }
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == expected
    templates = {"benchmarks/report/report.html.j2", "benchmarks/report/sections/engines.html.j2", "core/page/page.js"}
    assert {f"{name}/py.typed" for name in PACKAGES} | templates <= names


def dependencies(wheel: Path) -> dict[str, Requirement]:
    """The dependencies of the wheel without extras, by name."""
    (metadata,) = (name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA"))
    lines = re.findall(r"^Requires-Dist: (.+)$", zipfile.ZipFile(wheel).read(metadata).decode(), re.MULTILINE)
    return {need.name: need for need in map(Requirement, lines) if "extra" not in str(need.marker)}


def test_depends_on_what_is_pinned_for_a_machine_of_ones_own(wheel):
    needs = dependencies(wheel)
    pins = pinned("base.txt", "cpu.txt")
    assert needs.keys() == pins.keys() | {"ml_dtypes"}, "onnx brings ml_dtypes"
    for name, versions in pins.items():
        assert all(version in needs[name].specifier for version in versions), name


def test_lower_bounds_are_those_of_the_container(wheel):
    container, needs = pinned("ngc.txt"), dependencies(wheel)
    assert len(container.keys() & needs.keys()) > 10
    for name in container.keys() & needs.keys():
        assert container[name] == {str(needs[name].specifier)}, name


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """`bin` of a new environment with the wheel; it sees this interpreter's packages, but not this checkout."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    run(folder / "venv/bin", folder, "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "venv" / "bin"


def run(bin_folder: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    line = [str(bin_folder / command[0]), *command[1:]]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_command_names_its_verbs_and_refuses_others(installed, tmp_path):
    told = run(installed, tmp_path, "pidnet-int8")
    assert told.returncode == 0 and re.search(r"^  sensitivity +\S", told.stdout, re.MULTILINE), told.stderr
    assert run(installed, tmp_path, "pidnet-int8", "rules").stdout.count("residual-add") == 1
    refused = run(installed, tmp_path, "pidnet-int8", "bnch")
    assert (refused.returncode, refused.stdout) == (2, "") and "did you mean bench?" in refused.stderr


@pytest.mark.slow
def test_runs_the_embedded_default_in_another_folder(installed, tmp_path):
    place = run(installed, tmp_path, "python", "-c", "import core; print(core.__file__)").stdout
    assert Path(place).is_relative_to(installed.parent)
    settings = [option for value in SMALL for option in ("--set", value)]
    done = run(installed, tmp_path, "pidnet-int8", "bench", *settings)
    assert done.returncode == 0, done.stderr
    name = load_config(ROOT / "configs/pidnet_s_streets.yaml").run
    for backend in BACKENDS:
        assert (tmp_path / "engines" / name / f"{backend}-int8" / "manifest.json").is_file()
    page = (tmp_path / "benchmarks/results" / name / "report.html").read_text(encoding="utf-8")
    assert "OpenVINO int8" in page and page.rstrip().endswith("</html>")
