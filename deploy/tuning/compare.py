"""Build two schemes and time their engines in turns; what was built and timed once is not done again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.artifacts import read_json, sha256_file, sha256_json, write_json
from core.config import BenchConfig
from core.errors import UserError
from deploy.apply.apply import Applied, apply
from deploy.apply.calibrate import complete
from deploy.apply.target import TargetConfig
from deploy.bundle.store import read_bundle
from deploy.bundle.types import BuildOptions, Bundle
from deploy.checks.parity import Parity, parity
from deploy.checks.write import write_verified
from deploy.graph import onnx_graph
from deploy.hardware.cpu import cpu_model
from deploy.placement.rules.base import Rule
from deploy.plan.images import read_images
from deploy.plan.plan import read_plan
from deploy.targets.base import Backend
from deploy.targets.tuned import Scheme
from deploy.tuning.timing import Ratio, paired_ratio, time_in_turns

AGREEMENT_LOST = 0.002  # share of outputs whose class may change against where the search started


@dataclass(frozen=True)
class Source:
    """What every scheme is made from.

    Attributes:
        graph, plan: the float network and its quantization plan, as files.
        calibration: images for scales that the plan lacks.
        parity: images and the logits training gave them (see `deploy.checks.parity`).
        base: the target under the run's restrictions; schemes change its rules, rewrites and number formats.
        rules: everything a scheme's rule names can mean.
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
    """Times schemes against each other on one backend; `folder` keeps graphs, engines and ratios between runs."""

    def __init__(self, source: Source, backend: Backend, bench: BenchConfig, folder: Path) -> None:
        self._source, self._backend, self._bench, self._folder = source, backend, bench, folder
        self._timings = folder / "timings.json"
        self._known: dict[str, Any] = read_json(self._timings) if self._timings.is_file() else {}
        self.reference: Parity | None = None  # of the scheme the search started with

    def __call__(self, best: Scheme, changed: Scheme) -> Ratio | str:
        """Time of `changed` over `best`, or why there is none."""
        try:
            slow, fast = self.graph(best), self.graph(changed)
        except UserError as error:
            return f"refused: {error.what}"
        if sha256_file(slow) == sha256_file(fast):
            return "same graph"
        if self.reference is None:
            self.reference = parity(slow, self._source.parity)
        lost = self.reference.agreement - parity(fast, self._source.parity).agreement
        if lost > AGREEMENT_LOST:
            return f"refused: {lost:.2%} of pixels change their class"
        return self._timed(slow, fast)

    def graph(self, scheme: Scheme) -> Path:
        """The Q/DQ graph of a scheme."""
        source = self._source
        made_from = [sha256_file(path) for path in (source.graph, source.plan, source.calibration)]
        target = self._folder / f"{sha256_json([scheme.to_json(), made_from, source.base.skip])[:16]}.onnx"
        if not target.is_file():
            write_verified(source.applied(scheme), source.goal(scheme).target, target)
        return target

    def _timed(self, slow: Path, fast: Path) -> Ratio:
        backend = self._backend
        machine = [backend.name, backend.version(), cpu_model(), self._bench.model_dump(mode="json")]
        key = sha256_json([sha256_file(slow), sha256_file(fast), machine])
        if key not in self._known:
            self._known[key] = self._confirmed(slow, fast).to_json()
            write_json(self._timings, self._known)
        return Ratio(**self._known[key])

    def _confirmed(self, slow: Path, fast: Path) -> Ratio:
        """One measurement; when it finds a gain, the worse of two, for of many trials some look good by chance."""
        first = self._time(slow, fast)
        if first.high >= 1:
            return first
        return max(first, self._time(slow, fast), key=lambda ratio: ratio.high)

    def _time(self, slow: Path, fast: Path) -> Ratio:
        image = self._image()
        with (
            self._backend.open(self._bundle(slow)) as slow_session,
            self._backend.open(self._bundle(fast)) as fast_session,
        ):
            sessions = {"best": slow_session, "changed": fast_session}
            named = {name: {session.input_names[0]: image} for name, session in sessions.items()}
            samples = time_in_turns(sessions, named, self._bench)
        return paired_ratio(samples["changed"], samples["best"])

    def _bundle(self, graph: Path) -> Bundle:
        folder = graph.with_suffix("") / self._backend.name
        if not (folder / "manifest.json").is_file():
            self._backend.build(graph, folder, BuildOptions("int8", threads=self._bench.threads))
        return read_bundle(folder)

    def _image(self) -> NDArray[np.float32]:
        with np.load(self._source.parity) as stored:
            image: NDArray[np.float32] = stored["images"][:1]
        return image
