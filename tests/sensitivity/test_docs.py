from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from qat.sensitivity.config import SensitivityConfig

PAGE = (Path(__file__).parents[2] / "docs/sensitivity.md").read_text(encoding="utf-8")


def keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of the config; `calibration` is documented in docs/config.md."""
    for name, field in section.model_fields.items():
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        inner = [kind for kind in kinds if issubclass(kind, BaseModel)]
        if inner and name != "calibration":
            yield from keys(inner[0], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_key_is_in_the_page() -> None:
    table = "\n".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `"))
    assert sorted(set(keys(SensitivityConfig)) - set(re.findall(r"`([a-z_.]+)`", table))) == []


def test_the_page_names_no_key_that_is_gone() -> None:
    nested = set(re.findall(r"`((?:search|engine|recover)\.[a-z_]+)`", PAGE))
    assert nested <= set(keys(SensitivityConfig))
