"""README.md names only things that exist: make targets, variables, files, links."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from core.cli.verbs import VERBS

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "engines" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
LINES = [line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]
COMMANDS = [line for line in LINES if line.startswith("make ")]
MODULES = [line for line in LINES if not line.startswith("make ")]
TARGETS = set(re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE))
VARIABLES = set(re.findall(r"^([A-Z_]+)\s*\?=", MAKEFILE, re.MULTILINE))

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def dry_run(*arguments: str) -> str:
    """The commands that make would run, on one line, without variables of a make that started these tests."""
    outer = {"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "NVIDIA_PYTORCH_VERSION", *VARIABLES}
    environment = {key: value for key, value in os.environ.items() if key not in outer}
    command = ["make", "--dry-run", "--no-print-directory", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.replace("\\\n", " ").split())


def links(page: Path) -> list[str]:
    targets = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    return [target for target in targets if "://" not in target]


def test_the_two_commands_are_there() -> None:
    assert {"make bench", "make test"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_names_real_targets_and_variables(command: str) -> None:
    program, target, *_ = command.split()
    assert program == "make"
    assert target in TARGETS
    assert set(re.findall(r"\b([A-Z_]+)=", command)) <= VARIABLES


@pytest.mark.parametrize("command", MODULES)
def test_other_commands_start_a_module_of_ours(command: str) -> None:
    package, script = re.search(r" -m (\w+) ", command), re.match(r"python (\S+\.py)", command)
    verb = re.match(r"pidnet-int8 (\S+)", command)
    assert package or script or verb
    assert verb is None or verb[1] in VERBS
    assert package is None or (ROOT / package[1] / "__main__.py").is_file()
    assert script is None or (ROOT / script[1]).is_file()
    config = re.search(r"--config (\S+)", command)
    assert config is None or (ROOT / config[1]).is_file()


@needs_make
@pytest.mark.parametrize("command", COMMANDS)
def test_make_accepts_the_command(command: str) -> None:
    assert dry_run(*shlex.split(command)[1:])


@needs_make
def test_data_and_checkpoint_become_overrides() -> None:
    recipe = dry_run("bench", "CONFIG=c.yaml", "DATA=my data", "CKPT=w.pt", "ARGS=--set seed=1")
    options = ["--config", "c.yaml", "--set", "data.root='my data'", "--set", "model.checkpoint='w.pt'"]
    assert shlex.split(recipe)[-9:] == ["benchmarks/run.py", *options, "--set", "seed=1"]


@needs_make
def test_without_data_and_checkpoint_there_are_no_overrides() -> None:
    assert dry_run("bench").endswith("benchmarks/run.py --config 'configs/pidnet_s_streets.yaml'")


@needs_make
def test_on_a_machine_of_ones_own_torch_is_installed() -> None:
    recipe = dry_run("setup", "VENV=.venv-none")
    assert "requirements/cpu.txt" in recipe and "--system-site-packages" not in recipe


@needs_make
def test_a_container_keeps_its_own_torch() -> None:
    recipe = dry_run("setup", "VENV=.venv-none", "NVIDIA_PYTORCH_VERSION=25.04")
    assert "requirements/ngc.txt" in recipe and "--system-site-packages" in recipe
    assert "requirements/cpu.txt" not in recipe


def test_container_requirements_name_no_torch_and_no_tensorrt() -> None:
    lines = (ROOT / "requirements" / "ngc.txt").read_text(encoding="utf-8").splitlines()
    names = {re.split(r"[<>=;]", line)[0].strip() for line in lines if line and not line.startswith("#")}
    assert "pycuda" in names
    assert sorted(name for name in names if name == "torch" or name.startswith("tensorrt")) == []


def test_commands_of_the_pages_are_verbs() -> None:
    named = {verb for page in PAGES for verb in re.findall(r"\bpidnet-int8 ([a-z][\w-]*)", page.read_text("utf-8"))}
    others = {verb.other for verb in VERBS.values()} | {"completion"}
    assert "inspect" in named and named <= {*VERBS, *others}, named - {*VERBS, *others}


def test_the_page_of_the_command_line_names_every_verb() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert [
        name for verb, each in VERBS.items() for name in (verb, each.other) if name and f"`{name}`" not in page
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_exist(page: Path) -> None:
    assert [target for target in links(page) if not (page.parent / target).exists()] == []


def test_configs_and_scripts_named_exist() -> None:
    named = set(re.findall(r"configs/[\w.]+\.yaml|(?<=`python )[\w/]+\.py", README + MAKEFILE))
    assert named and sorted(path for path in named if not (ROOT / path).is_file()) == []
