"""docs/placement.md lists the rules and profiles that exist."""

import re
from pathlib import Path

from deploy.profiles import PROFILES
from deploy.rules import RULES

PAGE = (Path(__file__).parents[2] / "docs" / "placement.md").read_text(encoding="utf-8")


def test_every_rule_has_a_row() -> None:
    table = PAGE.partition("## The rules")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE) == [rule.name for rule in RULES]


def test_every_profile_has_a_row_that_names_what_it_leaves_out() -> None:
    table = PAGE.partition("## Profiles")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE)
    left_out = {name: re.findall(r"`([\w-]+)`", cell) for name, cell in rows}
    assert left_out == {name: [rule.name for rule in RULES if rule not in kept] for name, kept in PROFILES.items()}
