"""Costs that a change of the placement is compared by: the engine's own counters, or counts that need no clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from core.errors import UnsupportedEnvironment
from core.interval import Interval
from deploy.bundle.types import Bundle
from deploy.targets.base import Backend, LayerInfo, Tensors
from deploy.targets.layer_work import bytes_moved, executed
from deploy.tuning.timing import BOOTSTRAP_RESAMPLES

ROUNDS, RUNS = 5, 10  # of profiles in turns: each round gives the median of these runs


class Objective(Protocol):
    """A cost of engines; `measured` on a clock, so that the sum of all gains needs a confirmation, or not."""

    @property
    def name(self) -> str: ...

    @property
    def measured(self) -> bool: ...

    def change(self, before: Bundle, after: Bundle) -> Interval:
        """Cost that `after` has more than `before`, as a share of the cost of `before`; below 0 it is a gain."""


@dataclass(frozen=True)
class Counters:
    """Time of the layers that a change touches, by the engine's own counters.

    A change is local: most layers stay as they are, and what the machine does to them is noise. Layers of the same
    name, precision and element types in both engines are left out; the others are summed in each engine.
    """

    backend: Backend
    feeds: Callable[[Bundle], Tensors]
    name: str = "counters"
    measured: bool = True

    def change(self, before: Bundle, after: Bundle) -> Interval:
        """The median over rounds, in which both engines are profiled in turns, with a 95 % bootstrap interval."""
        old, new = self._forms(before), self._forms(after)
        same = {name for name, form in old.items() if new.get(name) == form}
        shares = []
        for _ in range(ROUNDS):
            times = [self._times(bundle) for bundle in (before, after)]
            touched = [sum(ms for name, ms in layers.items() if name not in same) for layers in times]
            shares.append((touched[1] - touched[0]) / sum(times[0].values()))
        values = np.array(shares)
        draws = np.random.default_rng(0).integers(len(values), size=(BOOTSTRAP_RESAMPLES, len(values)))
        low, high = np.percentile(np.median(values[draws], axis=1), (2.5, 97.5))
        return Interval(float(np.median(values)), float(low), float(high))

    def _forms(self, bundle: Bundle) -> dict[str, Hashable]:
        return {layer.name: _form(layer) for layer in self.backend.layers(bundle)}

    def _times(self, bundle: Bundle) -> dict[str, float]:
        layers = self.backend.profile(bundle, self.feeds(bundle), RUNS)
        if layers is None:
            raise UnsupportedEnvironment(
                f"{self.backend.title} engines have no counters here", fix="count with --objective bytes"
            )
        found: defaultdict[str, float] = defaultdict(float)
        for layer in layers:
            found[layer.name] += layer.ms
        return found


def _form(layer: LayerInfo) -> Hashable:
    """Kind, precision and types: a layer that keeps its name may still write another type."""
    types = (tuple(tensor.dtype for tensor in side) for side in (layer.inputs, layer.outputs))
    return layer.kind, layer.precision, layer.output, *types


@dataclass(frozen=True)
class Counted:
    """A cost that is computed from the list of layers, such as bytes moved; it is exact, and needs no run."""

    backend: Backend
    name: str
    cost: Callable[[Sequence[LayerInfo]], float]
    measured: bool = False

    def change(self, before: Bundle, after: Bundle) -> Interval:
        """The exact share; the interval is a point."""
        old, new = (self.cost(self.backend.layers(bundle)) for bundle in (before, after))
        return Interval(*[new / old - 1] * 3)


def moved(layers: Sequence[LayerInfo]) -> float:
    """Bytes that the executed layers move in one inference."""
    return float(sum(map(bytes_moved, executed(layers))))
