"""The placement rules, in the order reports list them. Rules do not depend on each other: a Keep always wins.

Two rules of the design are not here because the data model already holds them: all uses of a tensor share one
Q/DQ pair (fan-out), and only uses by nodes can be quantized, so a graph output never is.
"""

from __future__ import annotations

from collections.abc import Iterable

from core.errors import UserError
from deploy.rules import bias, conv_bn_act, residual_add, weighted
from deploy.rules.base import Rule

RULES: tuple[Rule, ...] = (weighted.RULE, bias.RULE, conv_bn_act.RULE, residual_add.RULE)


def select(disable: Iterable[str] = ()) -> tuple[Rule, ...]:
    """The rules without those named in `disable`; raises `UserError` for a name that is no rule."""
    names = {rule.name for rule in RULES}
    unknown = sorted(set(disable) - names)
    if unknown:
        raise UserError(
            f"placement.disable names no rule: {', '.join(unknown)}", fix=f"rules: {', '.join(sorted(names))}"
        )
    return tuple(rule for rule in RULES if rule.name not in set(disable))
