"""YAML of configs: every key once, dates kept as text, and no exception but `UserError`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from core.errors import UserError

_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):
    """Loader that refuses duplicate keys; SafeLoader would silently keep the last one."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # as PyYAML declares it
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.YAMLError(f"key {key!r} is not a name, line {key_node.start_mark.line + 1}")
            if key in seen:
                raise yaml.YAMLError(f"key {key!r} appears twice, line {key_node.start_mark.line + 1}")
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_mapping(path: Path, example: str) -> dict[str, Any]:
    """The mapping in a YAML file.

    Args:
        example: file that shows the expected form, for the message.

    Raises:
        UserError: the file cannot be read, is not YAML or not a mapping, or repeats a key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid YAML", why=str(error), fix="save it as UTF-8") from error
    value = parse(text, f"{path} is not valid YAML")
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a mapping", fix=f"see {example}")
    return value


def parse(text: str, what: str) -> Any:
    """The value of YAML text; raises `UserError`, whose message begins with `what`, for invalid YAML."""
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError as error:
        raise UserError(what, why="it is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number has more digits than Python reads
        raise UserError(what, why=str(error)) from error
