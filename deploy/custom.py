"""A user's own placement rules, from a Python file."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from core.errors import UserError
from deploy.rules.base import Rule


def load_rules(path: Path) -> tuple[Rule, ...]:
    """What `RULES` in the Python file `path` holds; the file is executed.

    Raises:
        UserError: no such file, an error while it runs, or `RULES` is no tuple of `Rule`.
    """
    fix = "see docs/placement.md and examples/custom_rule.py"
    if path.suffix != ".py" or not path.is_file():
        raise UserError(f"placement.custom: no Python file {path}", fix=fix)
    spec = importlib.util.spec_from_file_location(f"placement_rules_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file raises is the user's to read
        raise UserError(f"placement.custom: {path} fails", why=f"{type(error).__name__}: {error}", fix=fix) from error
    rules = getattr(module, "RULES", None)
    if not isinstance(rules, tuple) or not rules or not all(isinstance(rule, Rule) for rule in rules):
        raise UserError(f"placement.custom: {path} defines no RULES", why="RULES must be a tuple of Rule", fix=fix)
    return rules
