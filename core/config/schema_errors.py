"""Refusals of pydantic in plain words: the key, what it must be, and what it is."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from core.config.renamed import renamed_key, renamed_value
from core.nearest import did_you_mean, nearest

# By type of error: https://docs.pydantic.dev/latest/errors/validation_errors/. `{…}` is filled from its context.
_WORDS = {
    "missing": "is missing",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "string_pattern_mismatch": "must match {pattern}",
    "string_type": "must be text",
    "finite_number": "must be a finite number",
    "path_type": "must be a path",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
}
_BY_PREFIX = {
    "int": "must be a whole number",
    "float": "must be a number",
    "bool": "must be true or false",
    "tuple": "must be a list",
    "list": "must be a list",
    "dict": "must be a mapping of keys to values",
    "model": "must be a mapping of keys to values",
}
_UNION_MEMBERS = ("bool", "float", "int", "none", "str")  # pydantic adds them to the place of a value
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60


def problems(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One sentence for each problem, such as "train.lr must be more than 0, not -1"."""
    return [_sentence(dict(item), model) for item in error.errors(include_url=False)]


def blamed(overrides: Sequence[str], found: Sequence[str]) -> str:
    """The overrides whose keys the problems name; all of them where none is named."""
    keys = {override: override.partition("=")[0] for override in overrides}
    guilty = [override for override, key in keys.items() if any(problem.startswith(key) for problem in found)]
    return " ".join(f"--set {shortened(override)}" for override in guilty or overrides)


def shortened(text: str, limit: int = 80) -> str:
    """`text`, or its beginning where it is longer than `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _sentence(item: dict[str, Any], model: type[BaseModel]) -> str:
    kind, place = str(item["type"]), item["loc"]
    name = ".".join(map(str, place[:-1] if place and place[-1] in _UNION_MEMBERS else place))
    if kind == "extra_forbidden" and (renamed := renamed_key(name)):
        return renamed
    if kind == "literal_error" and (renamed := renamed_value(name, item["input"])):
        return renamed
    if kind == "extra_forbidden":
        known = sorted(_keys_at(model, place[:-1]))
        return f"{name} is not a key; {did_you_mean(str(place[-1]), known)}"
    if kind == "value_error":
        return ": ".join(filter(None, (name, str(item["ctx"]["error"]))))
    words = _WORDS.get(kind) or _BY_PREFIX.get(kind.partition("_")[0]) or "is not valid"
    context = item.get("ctx", {})
    said = f"{name or 'it'} {words.format(**context)}"
    if kind == "missing":
        return said
    choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
    meant = nearest(item["input"], choices)[:1] if isinstance(item["input"], str) else []
    hint = f"; did you mean {meant[0]}?" if meant else ""
    return f"{said}, not {_short.repr(item['input'])}{hint}"


def _keys_at(model: type[BaseModel], place: tuple[str | int, ...]) -> set[str]:
    """Keys of the section at `place`; empty where that is not a section."""
    if not place:
        return {field.alias or name for name, field in model.model_fields.items()}
    head, *rest = place
    if isinstance(head, int):  # an item of a list of sections
        return _keys_at(model, tuple(rest))
    field = model.model_fields.get(head)
    section = _section_in(field.annotation) if field else None
    if field and get_origin(field.annotation) in (dict, Mapping):  # its own keys are the user's
        rest = rest[1:]
    return _keys_at(section, tuple(rest)) if section else set()


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The model in `Model`, `Model | None` or `tuple[Model, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part)) is not None), None)
