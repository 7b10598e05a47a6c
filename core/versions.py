"""Versions of installed packages, and hashes of this project's code that decides a result."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from importlib import metadata

from core.files.paths import ROOT


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Version by package name, without missing packages."""
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


@cache
def source_hash(*packages: str) -> str:
    """SHA-256 over the Python files of this project's packages or modules, such as "deploy.placement".

    A stage that depends on it runs again when the code changes, without a manual version number.
    """
    digest = sha256()
    for package in packages:
        path = ROOT.joinpath(*package.split("."))
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]:
            digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()
