from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from qat.sensitivity.config import SensitivityConfig


def keys_of(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key, those of sections with dots."""
    for name, field in section.model_fields.items():
        inner = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        sections = [kind for kind in inner if issubclass(kind, BaseModel)]
        yield f"{prefix}{name}"
        yield from keys_of(sections[0], f"{prefix}{name}.") if sections else ()


PAGE = (Path(__file__).parents[2] / "docs/guides/sensitivity.md").read_text(encoding="utf-8")
KEYS = {
    key for key in keys_of(SensitivityConfig) if not key.startswith("calibration.")
}  # docs/reference/config.md has these
KEYS -= {"search", "recover"}  # sections, whose keys are listed


def test_every_key_is_in_the_page() -> None:
    table = "\n".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `"))
    assert sorted(KEYS - set(re.findall(r"`([a-z_.]+)`", table))) == []


def test_the_page_names_no_key_that_is_gone() -> None:
    nested = set(re.findall(r"`((?:search|engine|recover)\.[a-z_]+)`", PAGE))
    assert nested <= KEYS
