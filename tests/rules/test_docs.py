"""docs/reference/placement.md lists the rules and rule sets that exist."""

import re
from pathlib import Path

from deploy.placement.rule_sets import RULE_SETS
from deploy.placement.rules import OTHERS, RULES

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "placement.md").read_text(encoding="utf-8")


def test_every_rule_has_a_row() -> None:
    table = PAGE.partition("## The rules")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE) == [rule.name for rule in RULES + OTHERS]


def test_every_rule_set_has_a_row_that_names_its_rules() -> None:
    table = PAGE.partition("## Targets")[2].partition("\n| target |")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE)
    listed = {name: re.findall(r"`([\w-]+)`", cell) for name, cell in rows}
    assert listed == {name: [rule.name for rule in rules] for name, rules in RULE_SETS.items()}
