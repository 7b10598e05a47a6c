"""Run the network with chosen units quantized and keep what every image showed; the network itself never changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from core.console import track
from core.errors import UserError
from qat.processes.distributed import gathered, rank, world_size
from qat.sensitivity.measure.cache import ProbeCache, set_key
from qat.sensitivity.measure.distance import Distance, distance
from qat.sensitivity.measure.partial_run import KeptRun, reusable
from qat.sensitivity.measure.task import Evidence, evidence, metric_of, one_of
from qat.sensitivity.network.subject import Subject
from qat.sensitivity.network.weights import model_hash
from qat.sensitivity.user.batch import map_tensors
from qat.sensitivity.user.data import Images, Loader
from qat.sensitivity.user.device import to_device
from qat.sensitivity.user.precision import batch_in_float32
from qat.tracing.inputs import Inputs, apply, device_of

FLOAT: frozenset[str] = frozenset()
Wanted = Literal["distances", "loss", "counts"]


class Probes:
    """Measurements by set of units and image, each made once.

    Attributes:
        forwards: images times the share of the network that was computed for them, in whole forward passes.
    """

    def __init__(
        self,
        subject: Subject,
        images: Images,
        criterion: Callable[[Any, Any], Tensor],
        cache: ProbeCache,
        evaluate: Callable[[Any, Any], float] | None = None,
    ) -> None:
        self.subject, self.images, self.criterion, self.cache = subject, images, criterion, cache
        self.evaluate = evaluate
        self.hash = model_hash(subject.model)
        self.reuses = subject.graph is not None and reusable(subject.graph)
        self.device = device_of(subject.model)
        self.forwards = 0.0
        first = images.together(images.chunks(range(len(images)))[0])
        with torch.no_grad(), subject.only(FLOAT):
            output = apply(subject.model, self.prepared(first)[0])
        self.metric = "evaluate" if evaluate else metric_of(output, images.split(first)[1])

    def measure(
        self,
        sets: Sequence[frozenset[str]],
        indices: Sequence[int],
        wanted: Wanted,
        what: str,
    ) -> None:
        """Fill the cache with what is wanted of every set on these images; what is there already is not run again.

        Several processes share the sets, or the images where there are fewer sets than processes.

        Args:
            wanted: "distances" of the outputs from the float network's, the "loss", or "counts": that and what the
                metric counts.
            what: the label of the progress bar.
        """
        by_sets = len(sets) >= world_size()
        mine = sets[rank() :: world_size()] if by_sets else sets
        jobs = [
            (chunk, [units for units in mine if any(not self._known(units, image, wanted) for image in chunk)])
            for chunk in self.images.chunks(sorted(indices))
        ]
        jobs = [job for job in jobs if job[1]]
        lines: list[dict[str, Any]] = []
        for chunk, unknown in track(jobs if by_sets else jobs[rank() :: world_size()], what):
            lines += self._run(chunk, unknown, wanted)
        for process, others in enumerate(gathered(lines)):
            if process != rank():
                for line in others:
                    self.cache.take(line)
        if jobs:
            self.check()

    def evaluated(self, units: frozenset[str], indices: Sequence[int]) -> float:
        """What the user's `evaluate` says with these units quantized."""
        assert self.evaluate is not None
        indices = sorted(indices)
        name = f"{set_key(units)}:{hash_of(indices)}"
        if name not in self.cache.metrics:
            with torch.no_grad(), self.subject.only(units):
                value = float(self.evaluate(self.subject.model, Loader(self.images, indices)))
            self.subject.model.eval()
            self.cache.add_metric(name, value)
            self.check()
        return self.cache.metrics[name]

    def inputs(self, chunk: tuple[int, ...]) -> tuple[Inputs, Any]:
        """Input and target of these images, on the network's device."""
        return self.prepared(self.images.together(chunk))

    def prepared(self, batch: Any) -> tuple[Inputs, Any]:
        """Input and target of a batch of the user's loader, in float32 and on the network's device."""
        both = self.images.split(batch_in_float32(batch))
        return to_device(both, self.device)

    def check(self) -> None:
        """Raise if the network is not what it was."""
        if model_hash(self.subject.model) != self.hash:
            raise UserError(
                "a probe changed the network's weights or buffers",
                why="forward(), the loss or evaluate() writes to them",
                fix="remove the update; a network in evaluation mode must not change itself",
            )
        if any(module.training for module in self.subject.model.modules()):
            raise UserError("a probe put the network in training mode", fix="remove .train() from forward()")

    def _known(self, units: frozenset[str], image: int, wanted: Wanted) -> bool:
        key = (set_key(units), image)
        if wanted == "distances":
            return key in self.cache.distances
        found = self.cache.evidence.get(key)
        return found is not None and (wanted == "loss" or found.counts is not None)

    def _run(self, chunk: tuple[int, ...], sets: list[frozenset[str]], wanted: Wanted) -> list[dict[str, Any]]:
        """All sets on one batch; what they have in common is computed once."""
        inputs, target = self.inputs(chunk)
        images, base, lines = len(chunk), in_most(sets), []
        with torch.no_grad():
            kept = self._kept(inputs, base, images) if self.reuses and len(sets) > 2 else None
            reference = self._reference(inputs, kept, base, images) if wanted == "distances" else None
            for units in sets:
                output = self._output(inputs, units, images) if kept is None else self._again(kept, units, base, images)
                if wanted == "distances":
                    lines.append(self.cache.add(units, chunk, distances=_distances(reference, output, images)))
                else:
                    metric = self._counted() if wanted == "counts" else None
                    found = evidence(output, target, self.criterion, metric, images)
                    lines.append(self.cache.add(units, chunk, evidence=found))
        return lines

    def _reference(self, inputs: Inputs, kept: KeptRun | None, base: frozenset[str], images: int) -> Any:
        return kept.output if kept is not None and base == FLOAT else self._output(inputs, FLOAT, images)

    def _output(self, inputs: Inputs, units: frozenset[str], images: int) -> Any:
        with self.subject.only(units):
            self.forwards += images
            return apply(self.subject.model, inputs)

    def _kept(self, inputs: Inputs, base: frozenset[str], images: int) -> KeptRun:
        assert self.subject.graph is not None
        with self.subject.only(base):
            self.forwards += images
            return KeptRun(self.subject.graph, inputs)

    def _again(self, kept: KeptRun, units: frozenset[str], base: frozenset[str], images: int) -> Any:
        changed = [path for unit in self.subject.units if unit.name in units ^ base for path in unit.quantizers]
        before = kept.executed
        with self.subject.only(units):
            output = kept.again(changed)
        self.forwards += images * (kept.executed - before) / len(kept.model.graph.nodes)
        return output

    def _counted(self) -> Any:
        return "" if self.metric == "evaluate" else self.metric

    def of(self, units: frozenset[str], indices: Sequence[int]) -> list[Evidence]:
        """Evidence of images that were measured."""
        key = set_key(units)
        return [self.cache.evidence[(key, image)] for image in indices]


def in_most(sets: Sequence[frozenset[str]]) -> frozenset[str]:
    """Units that more than half of the sets contain: the set that the others differ from in the fewest units."""
    counted = Counter(unit for units in sets for unit in units)
    return frozenset(unit for unit, count in counted.items() if 2 * count > len(sets))


def hash_of(indices: Sequence[int]) -> str:
    """Short name of a selection of images."""
    return set_key(frozenset(map(str, indices)))


def _distances(reference: Any, output: Any, images: int) -> list[Distance]:
    if images == 1:
        return [distance(reference, output)]
    pairs = ([map_tensors(both, partial(one_of, i)) for both in (reference, output)] for i in range(images))
    return [distance(*pair) for pair in pairs]
