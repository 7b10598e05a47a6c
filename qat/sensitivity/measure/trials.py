"""Trials: run the network with chosen groups quantized, once per image; the network itself never changes."""

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
from qat.sensitivity.measure.cache import TrialCache, set_key
from qat.sensitivity.measure.distance import distance
from qat.sensitivity.measure.partial_run import KeptRun, reusable
from qat.sensitivity.measure.task import Evidence, evidence, metric_of, one_of
from qat.sensitivity.network.subject import Subject
from qat.sensitivity.network.weights import model_hash
from qat.sensitivity.user.batch import input_and_target, map_tensors
from qat.sensitivity.user.data import Images
from qat.sensitivity.user.device import in_float32, to_device
from qat.tracing.inputs import Inputs, apply, device_of

FLOAT: frozenset[str] = frozenset()
Wanted = Literal["distances", "loss", "counts"]


class Trials:
    """Measurements by set of quantized groups and image, each made once.

    Attributes:
        metric: "mIoU", "top-1", "evaluate" (the user's), or empty.
        forwards: images times the computed share of the network, in whole forward passes.
    """

    def __init__(
        self,
        subject: Subject,
        images: Images,
        criterion: Callable[[Any, Any], Tensor],
        cache: TrialCache,
        evaluate: Callable[[Any, Any], float] | None = None,
    ) -> None:
        self.subject, self.images, self.criterion, self.cache = subject, images, criterion, cache
        self.evaluate = evaluate
        self.hash = model_hash(subject.model)
        self.reuses = subject.graph is not None and reusable(subject.graph)
        self.device = device_of(subject.model)
        self.forwards = 0.0
        inputs, target = self.inputs(images.chunks(range(len(images)))[0])
        self.metric = "evaluate" if evaluate else metric_of(self._output(inputs, FLOAT, 0), target)

    def measure(self, sets: Sequence[frozenset[str]], indices: Sequence[int], wanted: Wanted, what: str) -> None:
        """Fill the cache with the wanted values of every set on these images; cached values are not computed again.

        Several processes share the sets, or the images where there are fewer sets than processes.

        Args:
            wanted: "distances" of the outputs from the float network's, the "loss", or "counts": the loss and the
                metric's counts.
            what: the label of the progress bar.
        """
        by_sets = len(sets) >= world_size()
        mine = sets[rank() :: world_size()] if by_sets else sets
        jobs = [
            (chunk, [groups for groups in mine if any(not self._known(groups, image, wanted) for image in chunk)])
            for chunk in self.images.chunks(sorted(indices))
        ]
        jobs = [job for job in jobs if job[1]]
        lines: list[dict[str, Any]] = []
        for chunk, unknown in track(jobs if by_sets else jobs[rank() :: world_size()], what):
            lines += self._run(chunk, unknown, wanted)
        for process, others in enumerate(gathered(lines)):
            for line in others if process != rank() else ():
                self.cache.take(line)
        if jobs:
            self.check()

    def of(self, groups: frozenset[str], indices: Sequence[int]) -> list[Evidence]:
        """Evidence of measured images."""
        key = set_key(groups)
        return [self.cache.evidence[(key, image)] for image in indices]

    def evaluated(self, groups: frozenset[str], indices: Sequence[int]) -> float:
        """The number that the user's `evaluate` returns with these groups quantized."""
        assert self.evaluate is not None
        indices = sorted(indices)
        name = f"{set_key(groups)}:{set_key(frozenset(map(str, indices)))}"
        if name not in self.cache.metrics:
            with torch.no_grad(), self.subject.only(groups):
                value = float(self.evaluate(self.subject.model, self.images.loader(indices)))
            self.subject.model.eval()
            self.cache.add_metric(name, value)
            self.check()
        return self.cache.metrics[name]

    def inputs(self, chunk: tuple[int, ...]) -> tuple[Inputs, Any]:
        """Input and target of these images, on the network's device."""
        return self.prepared(self.images.together(chunk))

    def prepared(self, batch: Any) -> tuple[Inputs, Any]:
        """Input and target of a batch of the user's loader, in float32 and on the network's device."""
        return to_device(input_and_target(in_float32(batch)), self.device)

    def check(self) -> None:
        """Raise if the network changed."""
        if model_hash(self.subject.model) != self.hash:
            raise UserError(
                "a trial changed the network's weights or buffers",
                why="forward(), the loss or evaluate() writes to them",
                fix="remove the update; a network in evaluation mode must not change itself",
            )
        if any(module.training for module in self.subject.model.modules()):
            raise UserError("a trial put the network in training mode", fix="remove .train() from forward()")

    def _known(self, groups: frozenset[str], image: int, wanted: Wanted) -> bool:
        key = (set_key(groups), image)
        if wanted == "distances":
            return key in self.cache.distances
        found = self.cache.evidence.get(key)
        return found is not None and (wanted == "loss" or found.counts is not None)

    def _run(self, chunk: tuple[int, ...], sets: list[frozenset[str]], wanted: Wanted) -> list[dict[str, Any]]:
        """Run all sets on one batch; their common part of the network is computed once."""
        inputs, target = self.inputs(chunk)
        images, base, lines = len(chunk), in_most(sets), []
        with torch.no_grad():
            kept = self._kept(inputs, base, images) if self.reuses and len(sets) > 2 else None
            reference = None
            if wanted == "distances":
                reference = kept.output if kept and base == FLOAT else self._output(inputs, FLOAT, images)
            for groups in sets:
                output = self._again(kept, groups, base, images) if kept else self._output(inputs, groups, images)
                if wanted == "distances":
                    both = (
                        [map_tensors(each, partial(one_of, i)) for each in (reference, output)] for i in range(images)
                    )
                    pairs = both if images > 1 else [(reference, output)]
                    lines.append(self.cache.add(groups, chunk, distances=[distance(*pair) for pair in pairs]))
                else:
                    found = evidence(
                        output, target, self.criterion, self.counted if wanted == "counts" else None, images
                    )
                    lines.append(self.cache.add(groups, chunk, evidence=found))
        return lines

    @property
    def counted(self) -> Any:
        """The metric that is counted image by image; empty without a metric or with the user's `evaluate`."""
        return "" if self.metric == "evaluate" else self.metric

    def _output(self, inputs: Inputs, groups: frozenset[str], images: int) -> Any:
        self.forwards += images
        with torch.no_grad(), self.subject.only(groups):
            return apply(self.subject.model, inputs)

    def _kept(self, inputs: Inputs, base: frozenset[str], images: int) -> KeptRun:
        assert self.subject.graph is not None
        self.forwards += images
        with self.subject.only(base):
            return KeptRun(self.subject.graph, inputs)

    def _again(self, kept: KeptRun, groups: frozenset[str], base: frozenset[str], images: int) -> Any:
        changed = [path for group in self.subject.groups if group.name in groups ^ base for path in group.quantizers]
        before = kept.executed
        with self.subject.only(groups):
            output = kept.again(changed)
        self.forwards += images * (kept.executed - before) / len(kept.model.graph.nodes)
        return output


def in_most(sets: Sequence[frozenset[str]]) -> frozenset[str]:
    """Groups that more than half of the sets contain; other sets differ from it in the fewest groups."""
    counted = Counter(group for groups in sets for group in groups)
    return frozenset(group for group, count in counted.items() if 2 * count > len(sets))
