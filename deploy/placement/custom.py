"""A user's own placement rules, from a Python file."""

from __future__ import annotations

from pathlib import Path

from core.errors import UserError
from core.files.user_code import load_module
from deploy.placement.rules.base import Rule


def load_rules(path: Path) -> tuple[Rule, ...]:
    """The value of `RULES` in the Python file `path`; the file is executed.

    Raises:
        UserError: no such file, an error while it runs, or `RULES` is not a tuple of `Rule`.
    """
    fix = "see docs/reference/placement.md and examples/custom_rule.py"
    module = load_module(path, "placement.custom", fix)
    rules = getattr(module, "RULES", None)
    if not isinstance(rules, tuple) or not rules or not all(isinstance(rule, Rule) for rule in rules):
        raise UserError(f"placement.custom: {path} defines no RULES", why="RULES must be a tuple of Rule", fix=fix)
    return rules
