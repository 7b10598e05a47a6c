"""Changes of a scheme that the search may try, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from deploy.apply.number_formats import Unsigned
from deploy.placement.partial import CONFIGURED
from deploy.placement.rules.base import Rule
from deploy.plan.plan import QuantizationPlan
from deploy.targets.tuned import REWRITES, Scheme, region_of

REQUIRED = frozenset({"weighted-ops", "never-bias", "conv-bn-act", "pad-conv"})  # rules that every INT8 network needs
SPELLINGS: tuple[Unsigned, ...] = ("never", "non-negative", "always")


@dataclass(frozen=True)
class Choice:
    """A named change of a scheme."""

    name: str
    apply: Callable[[Scheme], Scheme]


def global_choices(start: Scheme, known: Iterable[Rule]) -> Iterator[Choice]:
    """Every rule on or off, every element type, every rewrite on or off."""
    for spelling in SPELLINGS:
        if spelling != start.unsigned:
            yield Choice(f"uint8 {spelling}", _spelled(spelling))
    for name in REWRITES:
        yield Choice(f"{'without' if name in start.rewrites else 'with'} rewrite {name}", _rewritten(name))
    for rule in known:
        if rule.name not in REQUIRED | CONFIGURED:
            yield Choice(f"{'without' if rule.name in start.rules else 'with'} {rule.name}", _toggled(rule.name))


def regional_choices(start: Scheme, plan: QuantizationPlan) -> Iterator[Choice]:
    """One change per rule that placed pairs in a region: it switches the rule off there."""
    uses = (use for tensor in plan.activations.values() for use in tensor.uses)
    pairs = {(use.rule, region_of(use.node)): None for use in uses}
    for rule, region in pairs:
        if rule in start.rules and rule not in REQUIRED:
            yield Choice(f"without {rule} in {region}", _silent(rule, region))


def _spelled(unsigned: Unsigned) -> Callable[[Scheme], Scheme]:
    return lambda scheme: replace(scheme, unsigned=unsigned)


def _rewritten(name: str) -> Callable[[Scheme], Scheme]:
    def apply(scheme: Scheme) -> Scheme:
        kept = set(scheme.rewrites) ^ {name}
        return replace(scheme, rewrites=tuple(known for known in REWRITES if known in kept))

    return apply


def _toggled(name: str) -> Callable[[Scheme], Scheme]:
    def apply(scheme: Scheme) -> Scheme:
        if name in scheme.rules:
            return replace(scheme, rules=tuple(rule for rule in scheme.rules if rule != name))
        return replace(scheme, rules=(*scheme.rules, name))

    return apply


def _silent(rule: str, region: str) -> Callable[[Scheme], Scheme]:
    return lambda scheme: replace(scheme, without=scheme.without | {(rule, region)})
