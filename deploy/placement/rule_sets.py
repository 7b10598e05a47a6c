"""The rules that apply: the rule set of the engine that will run, minus what is switched off, plus the user's own.

`auto` trains with TensorRT's rules and builds with the rules of each engine's own rule set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from core.config import PlacementConfig
from core.errors import UserError
from core.nearest import did_you_mean
from deploy.placement.custom import load_rules
from deploy.placement.partial import restricted
from deploy.placement.rules import (
    OTHERS,
    RULES,
    bias,
    commuting,
    conv_bn_act,
    gates,
    integer_pointwise,
    pad_conv,
    products,
    residual_int8,
    resize,
    weighted,
)
from deploy.placement.rules.base import Rule

# PIDNet-S on OpenVINO: the rules that are not here cost 0 to 0.4 % of the time together and gain nothing, while
# residual-add gains 2.6 % (table in docs/reference/placement.md). The others hold on any engine.
_OPENVINO: tuple[Rule, ...] = (
    weighted.RULE,
    products.RULE,
    bias.RULE,
    conv_bn_act.RULE,
    pad_conv.RULE,
    residual_int8.RULE,
    commuting.RULE,
    resize.RULE,
    gates.RULE,
)

RULE_SETS: dict[str, tuple[Rule, ...]] = {
    "tensorrt": RULES,
    "openvino": _OPENVINO,
    "onnxruntime": (weighted.RULE, products.RULE, bias.RULE, commuting.RULE, integer_pointwise.RULE),
}
DEFAULT = "tensorrt"
AUTO = "auto"


def select(rule_set: str = DEFAULT, disable: Iterable[str] = (), custom: Iterable[Path] = ()) -> tuple[Rule, ...]:
    """The rules of `rule_set` and of the `custom` files, without those named in `disable`.

    Raises:
        UserError: no such rule set, no rule of a given name, a file without rules, or two rules of one name.
    """
    if rule_set not in RULE_SETS:
        raise UserError(f"no rule set {rule_set!r}", fix=did_you_mean(rule_set, RULE_SETS))
    own = tuple(rule for path in custom for rule in load_rules(path))
    known = [rule.name for rule in RULES + OTHERS + own]
    twice = sorted({name for name in known if known.count(name) > 1})
    if twice:
        raise UserError(f"two placement rules are called {twice[0]}", fix="rename the one in placement.custom")
    unknown = sorted(set(disable) - set(known))
    if unknown:
        raise UserError(
            f"placement.disable names no rule: {', '.join(unknown)}", fix=did_you_mean(unknown[0], sorted(known))
        )
    return tuple(rule for rule in RULE_SETS[rule_set] + own if rule.name not in set(disable))


def rules_of(config: PlacementConfig, engine: str = DEFAULT, own: Sequence[Rule] = ()) -> tuple[Rule, ...]:
    """The rules of a run, and `own` besides: for training, or for the engine family whose own rule set is `engine`."""
    rules = select(engine if config.rule_set == AUTO else config.rule_set, config.disable, config.custom)
    return restricted((*rules, *own), config.only, config.layers)


def known_rules(config: PlacementConfig) -> tuple[Rule, ...]:
    """Every rule that a name can mean, from all rule sets and the user's own, restricted as the config says."""
    own = tuple(rule for path in config.custom for rule in load_rules(path))
    return restricted(RULES + OTHERS + own, config.only, config.layers)
