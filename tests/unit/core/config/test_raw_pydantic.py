"""No message of a config holds pydantic's own words, whatever is wrong with it."""

import re

import pytest
from pydantic import BaseModel
from pydantic_core._pydantic_core import list_all_errors

from core.config import Config, load_config
from core.errors import UserError
from tests.small_line import CONFIG

WRONG = (
    "null",
    "[]",
    "{}",
    "x",
    "-1",
    ".inf",
    ".nan",
    "true",
    "1.5",
    "[[]]",
    "{a: 1}",
    "[1,2,3,4,5,6,7]",
    "9" * 40,
    "''",
)
RAW = {
    part.strip()
    for error in list_all_errors()
    for part in re.split(r"\{\w+\}", error["message_template_python"])
    if len(part.strip()) > 11
}
RAW |= {"Value error", "Assertion failed", "Input should"}


def keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted key of a config, sections included."""
    found = []
    for name, field in model.model_fields.items():
        found.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += keys(field.annotation, f"{prefix}{name}.")
    return found


def message(override: str) -> str:
    try:
        load_config(CONFIG, [override])
    except UserError as error:
        return str(error)
    return ""


def test_pydantic_has_words_of_its_own():
    assert {"Extra inputs are not permitted", "Field required"} <= RAW


@pytest.mark.parametrize("key", keys(Config))
def test_no_wrong_value_shows_them(key):
    messages = [message(f"{key}={value}") for value in WRONG] + [message(f"{key}.nonsense=1"), message(f"{key}x=1")]
    assert sum(map(bool, messages)) > 3
    for told in messages:
        assert [raw for raw in RAW if raw in told] == []
        assert not re.search(r": :|\bwhy: *$", told, re.MULTILINE), told


def test_the_nearest_value_is_named():
    assert "did you mean openvino?" in message("deploy.backends=[openvno]")
    assert "did you mean calibrate?" in message("qat.approach=calibrat")
