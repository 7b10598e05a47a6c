"""requirements/ngc.txt without a container: Python's user folder stands for the image's packages; pip obeys
constraints.

A virtual environment sees the user folder only if it was made with --system-site-packages, as it sees an image's
packages. Needs a package index. pycuda is built from source with the CUDA toolkit, which a test cannot require: the
image counts as having it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
IMAGE_PACKAGES = ("torch", "numpy")
PYCUDA = "Metadata-Version: 2.1\nName: pycuda\nVersion: 2026.1\n"
TESTS = (
    "tests/rules",
    "tests/unit/deploy/apply/test_place.py",
    "tests/unit/qat/tracing/test_export.py",
    "tests/unit/deploy/targets/test_contract.py",
)

pytestmark = pytest.mark.slow


def closure(names: tuple[str, ...]) -> set[str]:
    """The distributions and all their dependencies here."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        found.add(name)
        needs = map(Requirement, metadata.requires(name) or ())
        waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


def make_image(folder: Path) -> None:
    """Link this environment's packages into Python's user folder below the base `folder`."""
    site = Path(sysconfig.get_path("purelib", f"{os.name}_user", vars={"userbase": str(folder)}))
    site.mkdir(parents=True)
    for name in closure(IMAGE_PACKAGES):
        distribution = metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
        for top in tops:
            if not (site / top).exists():
                (site / top).symlink_to(distribution.locate_file(top))
    (site / "pycuda-2026.1.dist-info").mkdir()
    (site / "pycuda-2026.1.dist-info" / "METADATA").write_text(PYCUDA)


@pytest.fixture(scope="module")
def container(tmp_path_factory):
    """Runs a command in the pretended container, where `make setup` has run; returns its output."""
    folder = tmp_path_factory.mktemp("ngc")
    make_image(folder / "image")
    pins = [f"{name}=={metadata.version(name)}\n" for name in IMAGE_PACKAGES]
    (folder / "constraint.txt").write_text("".join(pins))
    outer = ("MAKE", "MFLAGS", "PYTHONPATH")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(outer)}
    environment |= {
        "NVIDIA_PYTORCH_VERSION": "26.01",
        "PIP_CONSTRAINT": str(folder / "constraint.txt"),
        "PYTHONUSERBASE": str(folder / "image"),
        "VENV": str(folder / "venv"),
    }

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    reach = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), "rich"]
    if subprocess.run(reach, capture_output=True).returncode:
        pytest.skip("no package index can be reached")
    run("make", "setup", f"PYTHON={sys.executable}", f"VENV={folder / 'venv'}")
    run.python = str(folder / "venv" / "bin" / "python")
    run.image = folder / "image"
    return run


def test_the_images_torch_stays_and_everything_else_is_installed(container):
    code = "import torch, numpy; print(torch.__version__, torch.__file__, numpy.__version__)"
    version, place, numpy = container(container.python, "-c", code).split()
    assert (version, numpy) == (metadata.version("torch"), metadata.version("numpy"))
    assert Path(place).is_relative_to(container.image)
    own = container(container.python, "-m", "pip", "list", "--local", "--format=freeze").splitlines()
    names = {line.split("==")[0].lower() for line in own}
    assert {"openvino", "onnxruntime", "onnxscript"} <= names and not {"torch", "numpy"} & names
    container(container.python, "-m", "pip", "check")


def test_tests_pass_there(container):
    out = container("make", "test", f"VENV={Path(container.python).parents[1]}", f"ARGS=-q {' '.join(TESTS)}")
    assert re.search(r"\d{2,} passed", out)
