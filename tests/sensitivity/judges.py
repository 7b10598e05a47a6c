"""Judges whose damage is a formula, so that the right answer is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qat.sensitivity.types import Baseline, Measured, Ranking, Unit, UnitScore


class Formula:
    """Damage is the sum over the quantized units, plus `pairs` for each pair that is quantized together."""

    def __init__(
        self, own: Mapping[str, float], tolerance: float, pairs: Mapping[frozenset[str], float] | None = None
    ) -> None:
        self.own, self.tolerance, self.pairs = own, tolerance, pairs or {}
        self.asked, self.prepared = 0, set[frozenset[str]]()

    @property
    def units(self) -> tuple[Unit, ...]:
        return tuple(Unit(name, (f"{name}.weight_quantizer",), "both", (name,)) for name in self.own)

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
    """That order, with nothing but a screen's score."""
    scores = [UnitScore(name, {"snr_db": float(place)}) for place, name in enumerate(names)]
    return Ranking(tuple(scores), {"evaluations": 0.0})


def by_damage(judge: Formula) -> Ranking:
    """Most harmful first."""
    return ranking(sorted(judge.own, key=lambda name: -judge.own[name]))
