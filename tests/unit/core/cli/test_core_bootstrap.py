"""core/cli/bootstrap.py, from the outside: a script started with any Python continues in the project's own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.cli.bootstrap import SETTINGS, missing_packages, settled_environment

ROOT = Path(__file__).parents[4]
SCRIPT = """
import os, sys
from pathlib import Path
from core.cli.bootstrap import use_project_environment
use_project_environment(needed={needed!r}, root=Path({root!r}))
print(sys.argv[1:], os.environ.get("STAND_IN", "no"), os.environ.get("MALLOC_MMAP_MAX_"))
"""
needs_posix = pytest.mark.skipif(os.name != "posix", reason="the stand-in interpreter is a shell script")


def start(root: Path, needed: tuple[str, ...], **variables: str) -> subprocess.CompletedProcess[str]:
    """Run SCRIPT with `root` as the project, two arguments, and a clean allocator environment."""
    environment = {key: value for key, value in os.environ.items() if key not in SETTINGS}
    command = [sys.executable, "-c", SCRIPT.format(needed=needed, root=str(root)), "--set", "a.b=c d"]
    environment |= {"PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def stand_in_environment(root: Path) -> None:
    """A `.venv` whose python is this one, with a module `needed_one` besides."""
    bin_folder = root / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    packages = root / ".venv" / "packages"
    packages.mkdir()
    (packages / "needed_one.py").touch()
    python = bin_folder / "python"
    python.write_text(f'#!/bin/sh\nSTAND_IN=yes PYTHONPATH="{packages}:{ROOT}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)


@needs_posix
def test_goes_on_in_the_project_environment_with_the_same_arguments(tmp_path: Path) -> None:
    stand_in_environment(tmp_path)
    done = start(tmp_path, ("json", "needed_one"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0].startswith("['--set', 'a.b=c d'] yes")
    assert done.stderr.startswith(f"using {tmp_path}/.venv/bin/python (no needed_one in")
    assert len(done.stderr.splitlines()) == 1


def test_without_an_environment_it_says_make_setup(tmp_path: Path) -> None:
    done = start(tmp_path, ("needed_one",))
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: this needs needed_one")
    assert "there is no environment" in done.stderr and "make setup" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_incomplete_environment_is_not_entered_twice(tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    done = start(tmp_path, ("needed_one",))
    assert done.returncode == 3
    assert "is incomplete" in done.stderr


def test_stays_where_everything_is_there(tmp_path: Path) -> None:
    done = start(tmp_path, ("json",), **SETTINGS)
    assert (done.stdout, done.stderr) == ("['--set', 'a.b=c d'] no 0\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator settings are glibc's")
def test_allocator_is_set_before_the_process_starts(tmp_path: Path) -> None:
    done = start(tmp_path, ("json",))
    assert (done.stdout, done.stderr) == ("['--set', 'a.b=c d'] no 0\n", "")


def test_allocator_settings_of_the_user_are_kept() -> None:
    environment = settled_environment({"MALLOC_MMAP_MAX_": "9", "HOME": "/h"})
    assert environment == {**SETTINGS, "MALLOC_MMAP_MAX_": "9", "HOME": "/h"}


def test_the_makefile_exports_the_same() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert dict(re.findall(r"^export (\w+) \?= (\w+)$", makefile, re.MULTILINE)) == SETTINGS


def test_missing_packages_are_found_without_importing() -> None:
    assert missing_packages(("json", "no_such_package_here")) == ["no_such_package_here"]


@pytest.mark.parametrize("given, seen", [({}, "passive 1"), ({"OMP_WAIT_POLICY": "active"}, "active 1")])
def test_a_command_settles_what_libraries_read_when_they_are_loaded(given: dict[str, str], seen: str) -> None:
    names = ("OMP_WAIT_POLICY", "OPENCV_FOR_THREADS_NUM")
    environment = {key: value for key, value in os.environ.items() if key not in names}
    environment |= {"PYTHONPATH": str(ROOT), **given}
    code = (
        f"import os; from core.cli.command import run_cli; run_cli(lambda: print(*map(os.getenv, {names})), debug=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == f"{seen}\n", done.stderr
