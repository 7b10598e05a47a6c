"""Vendor packages: checks that they are installed, and reads their versions."""

from __future__ import annotations

from importlib import metadata, util

from deploy.targets.base import Unavailable


def missing_package(name: str) -> Unavailable | None:
    """None when the package can be imported."""
    if util.find_spec(name) is not None:
        return None
    return Unavailable(f"the Python package {name} is not installed", f"pip install {name}")


def package_version(name: str) -> str:
    """Installed version of a distribution."""
    return metadata.version(name)
