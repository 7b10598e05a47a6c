"""Find a smallest set of units that must stay float for the tolerance to hold.

Everything starts quantized. The unit whose return to float helps most is reverted until the tolerance holds, and the
best candidates are measured again after each revert, since units interact. Then the search steps back: a reverted
unit that the others made unnecessary is quantized again. No single unit of what is left can be dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from core.console import say
from qat.sensitivity.types import Judge, Measured, Ranking, Unit


@dataclass(frozen=True)
class Step:
    """One change of the set: `unit` became float ("revert") or INT8 again ("restore"); `damage` is that after it."""

    action: Literal["revert", "restore"]
    unit: str
    damage: Measured


@dataclass(frozen=True)
class Chosen:
    """What the search ended with.

    Attributes:
        float_units: names of the units that stay float, in the order of the ranking.
        damage: against FP32, over all images, with everything else quantized.
        met: whether `damage` is within the tolerance.
        minimal: whether it was checked that no single unit can be quantized again.
        steps: the way there.
        evaluations: how many sets were measured.
        start: damage with everything quantized, where the way begins.
    """

    float_units: tuple[str, ...]
    damage: Measured
    met: bool
    minimal: bool
    steps: tuple[Step, ...]
    evaluations: int
    start: Measured | None = None


def search(
    judge: Judge,
    ranking: Ranking,
    window: int = 4,
    max_evaluations: int | None = None,
    probe_images: int | None = None,
) -> Chosen:
    """Revert, then step back; deterministic for a deterministic `judge`.

    Args:
        ranking: most harmful unit first; the order in which candidates come up.
        window: candidates measured before each revert.
        max_evaluations: sets that may be measured, by default six for each unit and 20 more. Half of them go to the
            choice of reverts; what is then missing is reverted in the order of the ranking, as many units as it takes.
        probe_images: images for comparing candidates; None takes all. The tolerance is always judged on all.
    """
    order = [score.unit for score in ranking.units]
    bench = _Bench(judge, probe_images, max_evaluations or 6 * len(order) + 20)
    everything = frozenset(order)
    start, nothing = bench.damage(everything), frozenset[str]()
    if judge.met(start):
        return bench.chosen(order, everything, minimal=True, steps=[])
    if not judge.met(bench.damage(nothing)):
        say("search: not even the float model meets the tolerance; everything stays quantized")
        return bench.chosen(order, everything, minimal=False, steps=[])
    say(f"search: all quantized {told(start)}")
    quantized, steps = _revert(bench, order, window)
    quantized, minimal, restored = _step_back(bench, quantized, order)
    return bench.chosen(order, quantized, minimal, [*steps, *restored])


def _revert(bench: _Bench, order: Sequence[str], window: int) -> tuple[frozenset[str], list[Step]]:
    quantized, steps = frozenset(order), list[Step]()
    gains: dict[str, float] = {}  # by candidate, when it was last measured
    while not bench.met(quantized):
        if bench.used + window > bench.limit // 2:
            return _bisect(bench, quantized, _by_promise(order, gains, quantized), steps)
        before, candidates = bench.probe(quantized).value, _candidates(order, gains, quantized, window)
        bench.prepare([quantized - {name} for name in candidates], bench.probe_images)
        for name in candidates:
            gains[name] = before - bench.probe(quantized - {name}).value
        best = max((name for name in order if name in gains and name in quantized), key=lambda name: gains[name])
        quantized -= {best}
        del gains[best]
        steps.append(bench.step("revert", best, quantized))
    return quantized, steps


def _candidates(order: Sequence[str], gains: dict[str, float], quantized: frozenset[str], window: int) -> list[str]:
    """Half the window are the most promising of those measured before, half are new ones of the ranking."""
    known = sorted((name for name in order if name in gains), key=lambda name: -gains[name])
    fresh = [name for name in order if name in quantized and name not in gains]
    again = known[: max(window // 2, window - len(fresh))]
    return [*again, *fresh[: window - len(again)]]


def _by_promise(order: Sequence[str], gains: dict[str, float], quantized: frozenset[str]) -> list[str]:
    known = sorted((name for name in order if name in gains), key=lambda name: -gains[name])
    return [*known, *(name for name in order if name in quantized and name not in gains)]


def _bisect(
    bench: _Bench, quantized: frozenset[str], order: Sequence[str], steps: list[Step]
) -> tuple[frozenset[str], list[Step]]:
    """Revert the fewest of the first units of `order` that meet the tolerance; all of them are known to."""
    low, high = 0, len(order)
    while high - low > 1:
        middle = (low + high) // 2
        if bench.met(quantized - frozenset(order[:middle])):
            high = middle
        else:
            low = middle
    after = quantized - frozenset(order[:high])
    return after, [*steps, *(Step("revert", name, bench.damage(after)) for name in order[:high])]


def _step_back(
    bench: _Bench, quantized: frozenset[str], order: Sequence[str]
) -> tuple[frozenset[str], bool, list[Step]]:
    """Quantize again, cheapest first, what the tolerance has room for. The flag says whether nothing more fits."""
    steps: list[Step] = []
    while True:
        trials: dict[str, Measured] = {}
        reverted = [name for name in order if name not in quantized]
        bench.prepare([quantized | {name} for name in reverted])
        for name in reverted:
            if bench.used >= bench.limit:
                return quantized, False, steps
            trials[name] = bench.damage(quantized | {name})
        fitting = [name for name in trials if bench.judge.met(trials[name])]
        if not fitting:
            return quantized, True, steps
        cheapest = min(fitting, key=lambda name: trials[name].value)
        quantized |= {cheapest}
        steps.append(bench.step("restore", cheapest, quantized))


class _Bench:
    """The judge, asked at most once for each set and number of images."""

    def __init__(self, judge: Judge, probe_images: int | None, limit: int) -> None:
        self.judge, self.probe_images, self.limit = judge, probe_images, limit
        self._seen: dict[tuple[frozenset[str], int | None], Measured] = {}

    @property
    def used(self) -> int:
        return len(self._seen)

    def prepare(self, sets: Sequence[frozenset[str]], images: int | None = None) -> None:
        wanted = [quantized for quantized in sets if (quantized, images) not in self._seen]
        self.judge.prepare(wanted[: max(self.limit - self.used, 0)], images)

    def damage(self, quantized: frozenset[str], images: int | None = None) -> Measured:
        key = quantized, images
        if key not in self._seen:
            self._seen[key] = self.judge.damage(quantized, images)
        return self._seen[key]

    def probe(self, quantized: frozenset[str]) -> Measured:
        return self.damage(quantized, self.probe_images)

    def met(self, quantized: frozenset[str]) -> bool:
        return self.judge.met(self.damage(quantized))

    def step(self, action: Literal["revert", "restore"], unit: str, quantized: frozenset[str]) -> Step:
        damage = self.damage(quantized)
        say(f"search: {action} {unit}: {told(damage)}")
        return Step(action, unit, damage)

    def chosen(self, order: Sequence[str], quantized: frozenset[str], minimal: bool, steps: Sequence[Step]) -> Chosen:
        damage = self.damage(quantized)
        stay = tuple(name for name in order if name not in quantized)
        start = self.damage(frozenset(order))
        return Chosen(stay, damage, self.judge.met(damage), minimal, tuple(steps), self.used, start)


def told(damage: Measured) -> str:
    """A measurement as people read it."""
    return f"damage {damage.value:.4g} [{damage.low:.4g}, {damage.high:.4g}] on {damage.images} images"


def layers_of(units: Sequence[Unit], names: Sequence[str]) -> tuple[str, ...]:
    """Node names that `placement.skip` must list so that the units called `names` stay float, in order."""
    wanted = set(names)
    return tuple(dict.fromkeys(layer for unit in units if unit.name in wanted for layer in unit.layers))
