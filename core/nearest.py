"""The name, file or folder that a user probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

SHOWN = 3
CUTOFF = 0.6  # difflib's own


def nearest(name: str, known: Iterable[str], cutoff: float = CUTOFF) -> list[str]:
    """At most three of `known` that look like `name`, the likeliest first; capitals do not count."""
    lower = {each.lower(): each for each in known}
    return [lower[each] for each in difflib.get_close_matches(name.lower(), lower, n=SHOWN, cutoff=cutoff)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that names the likeliest of `known`; where none is alike, a sentence that lists them."""
    names = list(known)
    found = nearest(name, names)
    return f"did you mean {found[0]}?" if found else f"there are {', '.join(names) or 'none'}"


def near_path(path: Path) -> Path | None:
    """The path that differs from `path` in one name and exists; None where no such path is alike.

    The first part of `path` that does not exist is the one that is replaced.
    """
    absent = next((part for part in [*reversed(path.parents), path] if not part.exists()), None)
    if absent is None:
        return None
    try:
        beside = [entry.name for entry in absent.parent.iterdir()]
    except OSError:  # the parent is a file, or not ours to read
        return None
    rest = path.relative_to(absent)
    candidates = (absent.with_name(name) / rest for name in nearest(absent.name, beside))
    return next((found for found in candidates if found.exists()), None)


def path_hint(path: Path, otherwise: str) -> str:
    """`did you mean PATH?` where a path is alike, else `otherwise`."""
    found = near_path(path)
    return otherwise if found is None else f"did you mean {found}?"
