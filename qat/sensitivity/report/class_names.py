"""The user's names of the classes in place of their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Ious = Mapping[str, float | None]  # percent by class number, in its order


def named(ious: Ious, names: Sequence[str]) -> dict[str, float | None]:
    """`ious` by name, if there is a name for each class; else by number."""
    return dict(zip(names if len(names) == len(ious) else ious, ious.values(), strict=True))


def names_note(ious: Mapping[str, Ious], names: Sequence[str]) -> str:
    """The reason why names are not used; "" where they are, or where there are none.

    Args:
        ious: of every network.
    """
    count = len(next(iter(ious.values()), ()))
    if not names or count in (0, len(names)):
        return ""
    return f"get_class_names() gives {len(names)} names and the network has {count} classes, so numbers are shown"
