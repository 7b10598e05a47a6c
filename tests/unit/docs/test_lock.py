"""The lock with hashes agrees with the requirements files."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).parents[3] / "requirements"
ENVIRONMENT = {"python_version": "3.11", "sys_platform": "linux", "platform_machine": "x86_64"}
LINE = re.compile(r"(\S+)==(\S+) --hash=sha256:[0-9a-f]{64}")


def requirements() -> dict[str, Requirement]:
    lines = [
        line for name in ("base", "cpu", "rtx", "dev") for line in (FOLDER / f"{name}.txt").read_text().splitlines()
    ]
    texts = [line.split("#")[0].strip() for line in lines if not line.startswith("-r")]
    found = [Requirement(text) for text in texts if text]
    return {
        canonicalize_name(item.name): item for item in found if not item.marker or item.marker.evaluate(ENVIRONMENT)
    }


def locked() -> dict[str, str]:
    lines = (FOLDER / "lock-linux-x86_64-py311.txt").read_text().splitlines()
    matches = [LINE.fullmatch(line) for line in lines if not line.startswith("#")]
    assert all(matches), "every package has a hash"
    return {canonicalize_name(match[1]): match[2] for match in matches}


def test_every_pinned_package_is_locked_at_its_version():
    found = locked()
    assert len(found) > len(requirements()) > 20
    for name, requirement in requirements().items():
        assert found[name] in requirement.specifier, name


def test_torch_is_the_cpu_build():
    assert locked()["torch"].endswith("+cpu")
