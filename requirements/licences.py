"""Prints docs/reference/licences.md: the licence of every installed package that the requirements need.

python requirements/licences.py > docs/reference/licences.md
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

FOLDER = Path(__file__).parent
HEAD = """# Licences of the packages that are installed

The project itself is under the [Apache License 2.0](../../LICENSE). It copies no code of these packages; `make setup`
and `make peers` install them. NVIDIA's packages have terms of their own. Each package's own files hold its full text.
Made by `python requirements/licences.py`, from what the packages say of themselves.

| package | version | licence |
|---|---|---|"""


def required() -> set[str]:
    """Names in the requirements files and of all their installed dependencies."""
    lines = [line for path in FOLDER.glob("*.txt") for line in path.read_text(encoding="utf-8").splitlines()]
    waiting = [name for line in lines if (name := name_of(line))]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in found or not is_installed(name):
            continue
        found.add(name)
        needs = metadata.requires(name) or []
        waiting += [need for line in needs if "extra ==" not in line and (need := name_of(line))]
    return found


def name_of(line: str) -> str:
    """Normalised name of the package in a requirement; empty for comments and options."""
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line)
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""


def is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def licence_of(name: str) -> str:
    """The licence from the package's metadata, in one line."""
    about = metadata.metadata(name)
    classifiers = [line.split(" :: ")[-1] for line in about.get_all("Classifier", []) if line.startswith("License ::")]
    said = about.get("License-Expression") or ", ".join(classifiers) or about.get("License", "").strip().split("\n")[0]
    return said or "see its files"


if __name__ == "__main__":
    print(HEAD)
    for package in sorted(required()):
        print(f"| {package} | {metadata.version(package)} | {licence_of(package)} |")
