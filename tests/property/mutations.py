"""Hostile input: JSON values and bytes that differ from valid ones in a few places, and the number of examples.

FUZZ_SCALE=25 in the environment draws 25 times as many examples, other ones on every run (docs/evidence/testing.md).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from core.errors import UserError

SCALE = int(os.environ.get("FUZZ_SCALE", "1"))

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=12)
    | st.sampled_from(["", "..", "../x", "/etc/passwd", "\0", "\ud800", "1e400", "2020-01-01", "int8", 0, -1, 1, 2**31])
)
VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


def fuzz(examples: int) -> settings:
    """Settings of a test that draws the same `examples` examples in every run of the tests."""
    quiet = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(
        max_examples=examples * SCALE,
        deadline=None,
        derandomize=SCALE == 1,
        database=None,
        suppress_health_check=quiet,
        print_blob=True,
    )


def refused_or(call: Callable[[], Any]) -> Any:
    """The result of `call`; None where it refuses its input by a `UserError`. Other exceptions propagate."""
    try:
        return call()
    except UserError as error:
        assert str(error)
        return None


@st.composite
def changed(draw: st.DrawFn, sound: Any) -> Any:
    """`sound`, a JSON value, with one to three of its parts replaced, removed, doubled or added."""
    value = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(value))
        if not places:
            return draw(VALUES)
        holder, key = draw(st.sampled_from(places))
        action = draw(st.sampled_from(["replace", "replace", "remove", "add", "swap"]))
        if action == "remove":
            del holder[key]
        elif action == "add":
            _add(holder, draw(st.text(max_size=8)), draw(VALUES))
        elif action == "swap":
            other, there = draw(st.sampled_from(places))
            if there in other if isinstance(other, dict) else there < len(other):
                holder[key] = copy.deepcopy(other[there])
        else:
            holder[key] = draw(VALUES)
    return value


@st.composite
def damaged(draw: st.DrawFn, sound: bytes) -> bytes:
    """`sound` with bytes flipped, cut out, repeated, overwritten or cut off."""
    content = bytearray(sound)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.integers(1, 16))
        action = draw(st.sampled_from(["flip", "flip", "overwrite", "cut out", "repeat", "cut off"]))
        if action == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif action == "overwrite":
            content[at : at + length] = draw(st.binary(min_size=length, max_size=length))
        elif action == "cut out":
            del content[at : at + length]
        elif action == "repeat":
            content[at:at] = content[at : at + length]
        elif action == "cut off":
            del content[at:]
    return bytes(content)


def _places(value: Any) -> Any:
    """(container, key) of every part of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)


def _add(holder: Any, key: str, value: Any) -> None:
    if isinstance(holder, dict):
        holder[key] = value
    else:
        holder.append(value)
