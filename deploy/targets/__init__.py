"""The inference engines this project builds for: a folder of its name for each of `core.backends.BACKEND_NAMES`.

Its `target.py` has a `TARGET` and its `backend.py` a `BACKEND`. Vendor packages are imported only when one is used.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import cast

from core.backends import BACKEND_NAMES
from core.errors import UserError
from core.nearest import did_you_mean
from deploy.apply.target import PORTABLE, Fallback, Target
from deploy.hardware.cpu import has_tiles, multiplies_uint8
from deploy.targets.base import Backend

TARGETS: dict[str, Target] = {
    PORTABLE.name: PORTABLE,
    **{name: import_module(f"{__name__}.{name}.target").TARGET for name in BACKEND_NAMES},
}


def title_of(name: str) -> str:
    """The name of a backend in tables and messages, such as "TensorRT-RTX"."""
    return get_backend(name).title if name in BACKEND_NAMES else name


def get_backend(name: str) -> Backend:
    """The backend of that name; raises `UserError` for a name that is not in `BACKEND_NAMES`."""
    if name not in BACKEND_NAMES:
        raise UserError(f"no backend {name!r}", fix=did_you_mean(name, BACKEND_NAMES))
    return cast(Backend, import_module(f"{__name__}.{name}.backend").BACKEND)


def target_for(name: str, fallback: Fallback = "fp32") -> Target:
    """The target of that name, as this machine builds it.

    Without VNNI or AMX, OpenVINO's x86 kernels add two products in 16 bits: weights must be small enough there. The
    fallback precision is written into the graph where the builder takes it from there. Blocks of pixels pay where
    a CPU multiplies tiles; elsewhere they only add products with zero.

    Raises:
        UserError: no such target.
    """
    if name not in TARGETS:
        raise UserError(f"no target {name!r}", fix=did_you_mean(name, TARGETS))
    target = TARGETS[name]
    if target.overflows and not multiplies_uint8():
        target = replace(target, sums="int16")
    target = target if has_tiles() else replace(target, block=1)
    in_graph = name in BACKEND_NAMES and get_backend(name).fallback_in_graph
    return replace(target, fallback=fallback) if in_graph else target
