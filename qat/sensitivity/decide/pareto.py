"""Damage against engine latency: time single groups in float, predict the front, then build and measure its points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from core.console import say, track
from core.files.artifacts import read_json, sha256_json, write_json
from deploy.tuning.timing import BOOTSTRAP_RESAMPLES, Ratio, Samples, paired_ratio
from qat.sensitivity.decide.engines import ALL_INT8, Engines, on_main
from qat.sensitivity.decide.search import Chosen, layers_of
from qat.sensitivity.measure.evaluator import ImageEvaluator
from qat.sensitivity.types import Measured, QuantizerGroup

BASELINE = "all INT8"
KEPT = 256  # partial sets kept while the front is predicted; the cheapest and the best are always among them
SAME = Ratio(1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Milliseconds:
    """A latency or a difference of two, with its 95 % interval over rounds."""

    value: float
    low: float
    high: float

    @property
    def is_noise(self) -> bool:
        """Return True if the interval of a difference includes zero."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class Predicted:
    """A set of float groups, with time and damage predicted from sums over single groups."""

    float_groups: frozenset[str]
    extra_ms: float
    damage: float


@dataclass(frozen=True)
class Point:
    """A set of float groups, built and measured.

    Attributes:
        latency: of the engine.
        rounds_ms: its median in each round of the run that timed all points in turns.
        against_chosen: its latency over that of the set the search chose, from the same rounds.
        predicted_ms, predicted_damage: predictions from the table of single groups.
        on_front: no other measured point is both as fast and as good.
    """

    float_groups: tuple[str, ...]
    latency: Milliseconds
    damage: Measured
    met: bool
    predicted_ms: float | None
    predicted_damage: float | None
    rounds_ms: tuple[float, ...] = ()
    against_chosen: Ratio = SAME
    on_front: bool = False

    @property
    def is_noise(self) -> bool:
        """Return True if its time does not differ measurably from that of the set that the search chose."""
        return self.against_chosen.low <= 1 <= self.against_chosen.high


def latency_table(engines: Engines, groups: Sequence[QuantizerGroup], file: Path) -> dict[str, Milliseconds]:
    """Extra time by group: how much slower the engine is with this group in float than with everything in INT8.

    All engines take turns with the all-INT8 one in one run, and differences are taken round by round. Costs in `file`
    for the same network, backend and settings are reused.
    """
    known = read_json(file) if file.is_file() else {}
    keys = {group.name: sha256_json([engines.key, sorted(group.layers)]) for group in groups}
    missing = [group for group in groups if keys[group.name] not in known]
    if missing:
        for group in track(missing, "building an engine for each group"):
            engines.bundle(group.layers)
        samples = engines.time({BASELINE: ALL_INT8} | {f"group {group.name}": group.layers for group in missing})
        for group in missing:
            known[keys[group.name]] = asdict(slower_by(samples[f"group {group.name}"], samples[BASELINE]))
        write_json(file, known)
    return {group.name: Milliseconds(**known[keys[group.name]]) for group in groups}


def slower_by(candidate: Samples, baseline: Samples, seed: int = 0) -> Milliseconds:
    """Median over rounds of each round's difference, with a percentile-bootstrap interval over rounds."""
    differences = np.median(candidate, axis=1) - np.median(baseline, axis=1)
    draws = np.random.default_rng(seed).integers(len(differences), size=(BOOTSTRAP_RESAMPLES, len(differences)))
    low, high = np.percentile(np.median(differences[draws], axis=1), (2.5, 97.5))
    return Milliseconds(float(np.median(differences)), float(low), float(high))


def median_ms(samples: Samples) -> Milliseconds:
    """Median over rounds of the median run, with a percentile-bootstrap interval over rounds."""
    return slower_by(samples, np.zeros_like(samples))


def predicted_front(start: float, gains: Mapping[str, float], costs: Mapping[str, float]) -> list[Predicted]:
    """Sets that no other set beats in both damage and time, the fastest first, if effects of groups add up.

    Args:
        start: damage with everything quantized.
        gains: damage that disappears when a group is float.
        costs: milliseconds that it then takes.
    """
    front = [Predicted(frozenset(), 0.0, start)]
    for group in sorted(gains, key=lambda name: (-gains[name], name)):
        with_group = [
            Predicted(item.float_groups | {group}, item.extra_ms + costs[group], item.damage - gains[group])
            for item in front
        ]
        front = _thinned(_undominated([*front, *with_group]), KEPT)
    return front


def _undominated(items: Sequence[Predicted]) -> list[Predicted]:
    best: list[Predicted] = []
    for item in sorted(items, key=lambda item: (item.extra_ms, item.damage, sorted(item.float_groups))):
        if not best or item.damage < best[-1].damage:
            best.append(item)
    return best


def _thinned(items: Sequence[Predicted], count: int) -> list[Predicted]:
    """At most `count` of them at even distances, both ends included."""
    if len(items) <= count:
        return list(items)
    return [items[round(index * (len(items) - 1) / (count - 1))] for index in range(count)]


def pareto(
    evaluator: ImageEvaluator,
    engines: Engines,
    gains: Mapping[str, float],
    costs: Mapping[str, float],
    chosen: Chosen,
    points: int,
) -> list[Point]:
    """Measure up to `points` sets of the predicted front, all INT8, and the search's choice; the fastest first.

    All engines are timed in one go, in turns.

    Args:
        gains, costs: by group, see `predicted_front`.
    """
    names = [group.name for group in evaluator.groups]
    start = evaluator.damage(frozenset(names)).value
    front = _thinned(predicted_front(start, gains, costs), max(points, 2))
    promised = {item.float_groups: item for item in front}
    own = frozenset(chosen.float_groups)
    sets = {str(index): item for index, item in enumerate(dict.fromkeys([*promised, frozenset[str](), own]))}
    say(f"pareto: building and timing {len(sets)} engines")
    skips = {key: layers_of(evaluator.groups, sorted(item)) for key, item in sets.items()}
    samples = on_main(lambda: engines.time(skips))
    own_samples = next(samples[key] for key, item in sets.items() if item == own)
    found = []
    for key, float_groups in sets.items():
        damage = evaluator.damage(frozenset(names) - float_groups)
        hope = promised.get(float_groups)
        point = Point(
            tuple(name for name in names if name in float_groups),
            median_ms(samples[key]),
            damage,
            evaluator.met(damage),
            hope.extra_ms if hope else None,
            hope.damage if hope else None,
            tuple(np.median(samples[key], axis=1).tolist()),
            paired_ratio(samples[key], own_samples),
        )
        noise = ", as fast as the search's choice within noise" if point.is_noise and float_groups != own else ""
        say(f"pareto: {len(float_groups)} groups float: {point.latency.value:.2f} ms{noise}, {damage}")
        found.append(point)
    found.sort(key=lambda point: point.latency.value)
    return [replace(point, on_front=_on_front(point, found)) for point in found]


def _on_front(point: Point, others: Sequence[Point]) -> bool:
    mine = point.latency.value, point.damage.value
    return not any(
        theirs != mine and theirs[0] <= mine[0] and theirs[1] <= mine[1]
        for theirs in ((other.latency.value, other.damage.value) for other in others)
    )
