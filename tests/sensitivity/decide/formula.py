"""Evaluators whose damage is a formula, so that the right answer is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qat.sensitivity.types import Baseline, GroupScore, Measured, QuantizerGroup, Ranking


class Formula:
    """Damage is the sum over the quantized groups, plus `pairs` for each pair that is quantized together."""

    def __init__(
        self, own: Mapping[str, float], tolerance: float, pairs: Mapping[frozenset[str], float] | None = None
    ) -> None:
        self.own, self.tolerance, self.pairs = own, tolerance, pairs or {}
        self.asked, self.prepared = 0, set[frozenset[str]]()

    @property
    def groups(self) -> tuple[QuantizerGroup, ...]:
        return tuple(QuantizerGroup(name, (f"{name}.weight_quantizer",), "both", (name,)) for name in self.own)

    @property
    def baseline(self) -> Baseline:
        everything = self.damage(frozenset(self.own)).value
        return Baseline(1.0, 1.0 + everything, 80.0, 80.0 - everything, "mIoU", 16, len(self.own))

    def prepare(self, sets: Sequence[frozenset[str]], images: int | None = None) -> None:
        self.prepared |= set(sets)

    def damage(self, quantized: frozenset[str], images: int | None = None) -> Measured:
        self.asked += 1
        value = sum(self.own[name] for name in sorted(quantized))
        value += sum(extra for pair, extra in self.pairs.items() if pair <= quantized)
        return Measured(value, value - 0.01, value + 0.01, images or 16)

    def met(self, found: Measured) -> bool:
        return found.value <= self.tolerance


def ranking(names: Sequence[str]) -> Ranking:
    """That order, without scores."""
    return Ranking(tuple(GroupScore(name, {}) for name in names))


def by_damage(evaluator: Formula) -> Ranking:
    """Most harmful first."""
    return ranking(sorted(evaluator.own, key=lambda name: -evaluator.own[name]))
