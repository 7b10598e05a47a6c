"""Build schemes and compare their engines; what was built and measured once is not done again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.config import BenchConfig
from core.errors import UserError
from core.files.artifacts import read_json, sha256_file, sha256_json, write_json
from core.interval import Interval
from deploy.apply.apply import Applied, apply
from deploy.apply.calibrate import complete
from deploy.apply.feed_pixels import fed
from deploy.apply.target import TargetConfig
from deploy.bundle.store import read_bundle
from deploy.bundle.types import BuildOptions, Bundle
from deploy.checks.parity import parity
from deploy.checks.write import write_verified
from deploy.graph import onnx_graph
from deploy.hardware.cpu import cpu_model
from deploy.placement.rules.base import Rule
from deploy.plan.images import read_images
from deploy.plan.plan import read_plan
from deploy.targets.base import Backend, Tensors
from deploy.targets.tuned import Scheme
from deploy.tuning.objectives import Objective
from deploy.tuning.timing import Ratio, paired_ratio, time_in_turns

LOST_DB = 1.0  # SNR against the trained network that may be lost; a count of changed pixels is mostly chance


@dataclass(frozen=True)
class Source:
    """The common source of all schemes.

    Attributes:
        graph, plan: the float network and its quantization plan, as files.
        calibration: images for scales that the plan lacks.
        parity: images and the logits training gave them (see `deploy.checks.parity`).
        base: the target under the run's restrictions; schemes change its rules, rewrites and number formats.
        rules: all rules that a scheme may name.
    """

    graph: Path
    plan: Path
    calibration: Path
    parity: Path
    base: TargetConfig
    rules: Sequence[Rule]

    def goal(self, scheme: Scheme) -> TargetConfig:
        """The target that a scheme describes."""
        return replace(self.base, target=scheme.target(self.base.target), rules=scheme.select(self.rules))

    def applied(self, scheme: Scheme) -> Applied:
        """The graph of a scheme; scales that the plan lacks are observed."""
        graph, goal = onnx_graph.load(self.graph), self.goal(scheme)
        plan = complete(read_plan(self.plan, self.graph), graph, list(read_images(self.calibration)), [goal])
        return apply(graph, plan, goal)


class Comparer:
    """Builds schemes on one backend and compares them; `folder` keeps graphs, engines and results between runs."""

    def __init__(self, source: Source, backend: Backend, bench: BenchConfig, folder: Path) -> None:
        self._source, self._backend, self._bench, self._folder = source, backend, bench, folder
        self._file = folder / "measured.json"
        self._known: dict[str, Any] = read_json(self._file) if self._file.is_file() else {}
        self._snr: dict[Path, float] = {}

    def change(self, objective: Objective, before: Scheme, after: Scheme) -> Interval | str:
        """Change of the cost by `objective`, or why there is none."""
        if why := self.refused(before, after):
            return why
        old, new = self.graph(before), self.graph(after)
        return self._once(objective.name, old, new, lambda: objective.change(self.bundle(old), self.bundle(new)))

    def ratio(self, before: Scheme, after: Scheme) -> Ratio:
        """Time of the whole engine of `after` over that of `before`, timed in turns."""
        old, new = self.graph(before), self.graph(after)
        return self._once("engine", old, new, lambda: self._time(old, new))

    def refused(self, before: Scheme, after: Scheme) -> str:
        """Why `after` is not compared with `before`; empty when it is."""
        try:
            old, new = self.graph(before), self.graph(after)
        except UserError as error:
            return f"refused: {error.what}"
        if sha256_file(old) == sha256_file(new):
            return "same graph"
        lost = self._snr_db(old) - self._snr_db(new)
        return f"refused: SNR falls by {lost:.1f} dB" if lost > LOST_DB else ""

    def graph(self, scheme: Scheme) -> Path:
        """The Q/DQ graph of a scheme."""
        source = self._source
        made_from = [sha256_file(path) for path in (source.graph, source.plan, source.calibration)]
        target = self._folder / f"{sha256_json([scheme.to_json(), made_from, source.base.skip])[:16]}.onnx"
        if not target.is_file():
            write_verified(source.applied(scheme), source.goal(scheme).target, target)
        return target

    def bundle(self, graph: Path) -> Bundle:
        """The engine of a graph."""
        folder = graph.with_suffix("") / self._backend.name
        if not (folder / "manifest.json").is_file():
            self._backend.build(fed(graph), folder, BuildOptions("int8", threads=self._bench.threads))
        return read_bundle(folder)

    def feeds(self, bundle: Bundle) -> Tensors:
        """An image of the parity file for the engine's input."""
        with np.load(self._source.parity) as stored:
            return {bundle.manifest["tensors"]["inputs"][0]["name"]: stored["images"][:1]}

    def _snr_db(self, graph: Path) -> float:
        if graph not in self._snr:
            self._snr[graph] = parity(graph, self._source.parity).snr_db
        return self._snr[graph]

    def _once(self, what: str, old: Path, new: Path, measure: Callable[[], Interval]) -> Interval:
        machine = [self._backend.name, self._backend.version(), cpu_model(), self._bench.model_dump(mode="json")]
        key = sha256_json([what, sha256_file(old), sha256_file(new), machine])
        if key not in self._known:
            self._known[key] = measure().to_json()
            write_json(self._file, self._known)
        return Interval(**self._known[key])

    def _time(self, old: Path, new: Path) -> Ratio:
        bundles = {"before": self.bundle(old), "after": self.bundle(new)}
        with ExitStack() as stack:
            sessions = {name: stack.enter_context(self._backend.open(bundle)) for name, bundle in bundles.items()}
            feeds = {name: self.feeds(bundle) for name, bundle in bundles.items()}
            samples = time_in_turns(sessions, feeds, self._bench)
        return paired_ratio(samples["after"], samples["before"])
