"""Engines of one quantized network, each with other layers in float."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from core.artifacts import sha256_file, sha256_json
from core.config import BenchConfig
from core.console import track
from core.errors import UnsupportedEnvironment
from deploy.apply.apply import apply
from deploy.apply.target import TargetConfig
from deploy.bundle.store import read_bundle
from deploy.checks.write import write_verified
from deploy.importing.import_plan import import_plan
from deploy.placement.rule_sets import select
from deploy.targets import get_backend, target_for
from deploy.targets.base import Backend, BuildOptions, Bundle, Precision
from deploy.tuning.timing import Samples, time_in_turns

Skip = tuple[str, ...]
ALL_INT8: Skip = ()
ALL_FLOAT: Skip = ("*",)


class Engines:
    """Builds and times engines made from one Q/DQ graph; `folder` keeps them, so each is built once.

    Args:
        qdq: the network with every unit quantized, as `qat.tracing.export` writes it.
        backend: name of an engine family that runs here.
        feeds: the inputs by name, as the file has them, each a batch of one; what latency is measured with.

    Raises:
        UnsupportedEnvironment: the backend cannot build or run INT8 on this machine.
    """

    def __init__(
        self, qdq: Path, backend: str, feeds: Mapping[str, NDArray[Any]], folder: Path, bench: BenchConfig
    ) -> None:
        self.backend: Backend = get_backend(backend)
        missing = self.backend.available("int8") or self.backend.runnable("int8")
        if missing is not None:
            raise UnsupportedEnvironment(f"{backend} engines cannot be used here", why=missing.why, fix=missing.fix)
        self.bench = bench
        self.key = sha256_json([sha256_file(qdq), self.backend.version(), bench.model_dump(mode="json")])
        self.feeds = feeds
        self._qdq, self._folder = qdq, folder / backend

    def bundle(self, skip: Skip) -> Bundle:
        """The engine whose layers `skip` are float and all others INT8 where the rules place it."""
        folder = self._folder / sha256_json([self.key, sorted(skip)])[:16]
        if not (folder / "manifest.json").is_file():
            target = target_for(self.backend.target)
            goal = TargetConfig(target, select(target.rule_set), skip)
            graph = folder.with_suffix(".onnx")
            write_verified(apply(*import_plan(self._qdq), goal), target, graph)
            precision: Precision = "fp32" if skip == ALL_FLOAT else "int8"
            self.backend.build(graph, folder, BuildOptions(precision, threads=self.bench.threads))
            graph.unlink()
        return read_bundle(folder)

    def time(self, wanted: Mapping[str, Skip]) -> dict[str, Samples]:
        """Latency of several engines, measured in turns; milliseconds by name, each (rounds, runs)."""
        with ExitStack() as stack:
            sessions = {
                name: stack.enter_context(self.backend.open(self.bundle(skip)))
                for name, skip in track(list(wanted.items()), "building engines")
            }
            feeds = {n: {key: self.feeds[key] for key in session.input_names} for n, session in sessions.items()}
            return time_in_turns(sessions, feeds, self.bench)
