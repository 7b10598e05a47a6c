"""docs/reference/config.md names every key of the schema with its default, and nothing else."""

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from core.config import Config, section_dict

PAGE = Path(__file__).parents[4] / "docs" / "reference" / "config.md"
ROW = re.compile(r"^\| `([\w.]+)` \| (.+?) \| .+ \|$", re.MULTILINE)
REQUIRED = "required"


def schema_defaults(section: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Dotted key → JSON default, `REQUIRED` where there is none."""
    defaults: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            defaults |= schema_defaults(field.annotation, f"{prefix}{name}.")
        elif field.default is PydanticUndefined:
            defaults[prefix + name] = REQUIRED
        else:
            plain = section_dict(section.model_construct(**{name: field.default})).get(name)
            defaults[prefix + name] = plain
    return defaults


def documented_defaults(page: str) -> dict[str, Any]:
    return {key: REQUIRED if cell == REQUIRED else yaml.safe_load(cell.strip("`")) for key, cell in ROW.findall(page)}


def test_every_key_and_default_is_documented() -> None:
    assert documented_defaults(PAGE.read_text(encoding="utf-8")) == schema_defaults(Config)


def test_a_missing_row_would_be_noticed() -> None:
    page = PAGE.read_text(encoding="utf-8").replace("`qat.calibration.images`", "`qat.calibration.pictures`")
    assert set(schema_defaults(Config)) - set(documented_defaults(page)) == {"qat.calibration.images"}
