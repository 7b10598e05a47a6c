"""Finds a smallest set of groups that must stay float for the tolerance to hold.

Everything starts quantized. The group whose return to float helps most is reverted until the tolerance holds, and the
best candidates are measured again after each revert, since groups interact. Then the search steps back: a reverted
group that the others made unnecessary is quantized again. No single group can be dropped from the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from core.console import say
from qat.sensitivity.measure.evaluator import ImageEvaluator
from qat.sensitivity.types import Measured, QuantizerGroup, Ranking


@dataclass(frozen=True)
class Step:
    """One change of the set: `group` became float ("revert") or INT8 again ("restore"); `damage` is that after it."""

    action: Literal["revert", "restore"]
    group: str
    damage: Measured


@dataclass(frozen=True)
class Chosen:
    """The set that the search ended with.

    Attributes:
        float_groups: names of the groups that stay float, in the order of the ranking.
        damage: against FP32, over all images, with everything else quantized.
        met: `damage` is within the tolerance.
        minimal: a check showed that no single group can be quantized again.
        steps: all changes from the start to this set.
        evaluations: number of measured sets.
        start: damage with everything quantized, at the start.
    """

    float_groups: tuple[str, ...]
    damage: Measured
    met: bool
    minimal: bool
    steps: tuple[Step, ...]
    evaluations: int
    start: Measured | None = None


def search(
    evaluator: ImageEvaluator,
    ranking: Ranking,
    window: int = 4,
    max_evaluations: int | None = None,
    trial_images: int | None = None,
) -> Chosen:
    """Revert, then step back; deterministic for a deterministic `evaluator`.

    Args:
        ranking: most harmful group first; the order in which candidates come up.
        window: candidates measured before each revert.
        max_evaluations: sets that may be measured, by default six for each group and 20 more. Half of them are for the
            choice of reverts; afterwards groups are reverted in the order of the ranking until the tolerance holds.
        trial_images: images for comparing candidates; None takes all. The tolerance is always checked on all.
    """
    order = [score.group for score in ranking.groups]
    found = _Search(evaluator, order, trial_images, max_evaluations or 6 * len(order) + 20)
    start = found.damage(found.quantized)
    if evaluator.met(start):
        return found.chosen(start, minimal=True)
    if not evaluator.met(found.damage(frozenset())):
        say("search: not even the float model meets the tolerance; everything stays quantized")
        return found.chosen(start, minimal=False)
    say(f"search: all quantized {start}")
    found.revert(window)
    return found.chosen(start, minimal=found.step_back())


class _Search:
    """The state of the search: the quantized set, the steps so far, and every measured damage."""

    def __init__(self, evaluator: ImageEvaluator, order: Sequence[str], trial_images: int | None, limit: int) -> None:
        self.evaluator, self.order, self.trial_images, self.limit = evaluator, order, trial_images, limit
        self.quantized = frozenset(order)
        self.steps: list[Step] = []
        self._seen: dict[tuple[frozenset[str], int | None], Measured] = {}

    def damage(self, quantized: frozenset[str], images: int | None = None) -> Measured:
        key = quantized, images
        if key not in self._seen:
            self._seen[key] = self.evaluator.damage(quantized, images)
        return self._seen[key]

    def revert(self, window: int) -> None:
        """Return groups to float until the tolerance holds."""
        gains: dict[str, float] = {}  # step of the last measurement, by candidate
        while not self.evaluator.met(self.damage(self.quantized)):
            known = sorted((name for name in self.order if name in gains), key=lambda name: -gains[name])
            fresh = [name for name in self.order if name in self.quantized and name not in gains]
            if len(self._seen) + window > self.limit // 2:
                return self._bisect([*known, *fresh])
            again = known[: max(window // 2, window - len(fresh))]
            candidates = [*again, *fresh[: window - len(again)]]  # half of them promising, half new in the ranking
            before = self.damage(self.quantized, self.trial_images).value
            self._prepare([self.quantized - {name} for name in candidates], self.trial_images)
            for name in candidates:
                gains[name] = before - self.damage(self.quantized - {name}, self.trial_images).value
            best = max((name for name in self.order if name in gains), key=lambda name: gains[name])
            del gains[best]
            self._step("revert", best, self.quantized - {best})

    def step_back(self) -> bool:
        """Quantize groups again, cheapest first, as long as the tolerance holds; return True if no other group fits."""
        while True:
            found: dict[str, Measured] = {}
            reverted = [name for name in self.order if name not in self.quantized]
            self._prepare([self.quantized | {name} for name in reverted])
            for name in reverted:
                if len(self._seen) >= self.limit:
                    return False
                found[name] = self.damage(self.quantized | {name})
            fitting = [name for name in found if self.evaluator.met(found[name])]
            if not fitting:
                return True
            cheapest = min(fitting, key=lambda name: found[name].value)
            self._step("restore", cheapest, self.quantized | {cheapest})

    def chosen(self, start: Measured, minimal: bool) -> Chosen:
        damage = self.damage(self.quantized)
        stay = tuple(name for name in self.order if name not in self.quantized)
        return Chosen(stay, damage, self.evaluator.met(damage), minimal, tuple(self.steps), len(self._seen), start)

    def _prepare(self, sets: Sequence[frozenset[str]], images: int | None = None) -> None:
        wanted = [quantized for quantized in sets if (quantized, images) not in self._seen]
        self.evaluator.prepare(wanted[: max(self.limit - len(self._seen), 0)], images)

    def _bisect(self, order: Sequence[str]) -> None:
        """Revert the shortest prefix of `order` that meets the tolerance; the whole of `order` is known to meet it."""
        low, high = 0, len(order)
        while high - low > 1:
            middle = (low + high) // 2
            met = self.evaluator.met(self.damage(self.quantized - frozenset(order[:middle])))
            low, high = (low, middle) if met else (middle, high)
        self.quantized -= frozenset(order[:high])
        self.steps += [Step("revert", name, self.damage(self.quantized)) for name in order[:high]]

    def _step(self, action: Literal["revert", "restore"], group: str, quantized: frozenset[str]) -> None:
        self.quantized = quantized
        self.steps.append(Step(action, group, self.damage(quantized)))
        say(f"search: {action} {group}: {self.steps[-1].damage}")


def layers_of(groups: Sequence[QuantizerGroup], names: Sequence[str]) -> tuple[str, ...]:
    """Node names, in order, that `placement.skip` must list to keep the groups `names` float."""
    wanted = set(names)
    return tuple(dict.fromkeys(layer for group in groups if group.name in wanted for layer in group.layers))
