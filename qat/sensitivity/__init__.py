"""Sensitivity of parts of a network to INT8, measured without changing the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qat.sensitivity.network.save import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """Import `load`, and with it torch, on first use: reports read this package's types without torch."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from qat.sensitivity.network.save import load

    return load
