"""Engines of one quantized network, each with other layers in float. Only this module of the analysis uses deploy/."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import fx

from core.config import BenchConfig
from core.console import track
from core.errors import UnsupportedEnvironment, UserError
from core.files.artifacts import sha256_file, sha256_json
from deploy.apply.calibrate import complete
from deploy.apply.target import TargetConfig
from deploy.bundle.store import read_bundle
from deploy.bundle.types import BuildOptions, Bundle, Precision
from deploy.checks.write import write_applied
from deploy.graph import onnx_graph
from deploy.placement.rule_sets import select
from deploy.plan.plan import write_plan
from deploy.targets import get_backend, target_for, title_of
from deploy.targets.base import Backend
from deploy.tuning.timing import Samples, time_in_turns
from qat.export import planned
from qat.processes.distributed import gathered
from qat.processes.stages import is_main
from qat.sensitivity.user.device import to_device
from qat.tracing.export import named_inputs
from qat.tracing.inputs import Inputs

OPSET = 18
NOT_BUILDABLE = (UserError, RuntimeError, ValueError, TypeError, LookupError)  # errors of exporters and builders
Skip = tuple[str, ...]  # names of the layers that stay float
ALL_INT8: Skip = ()
ALL_FLOAT: Skip = ("*",)

T = TypeVar("T")


class Engines:
    """Builds and times engines of one traced network; `folder` keeps them, so each is built once.

    Args:
        model: traced, with our quantizers, all of them on.
        example: the network's input, a batch of one; latency is measured with it.
        backend: name of an engine family that runs here.
        images: further inputs like `example`; scales that only this backend's rules need are observed on them.

    Raises:
        UnsupportedEnvironment: the backend cannot build or run INT8 on this machine.
    """

    def __init__(
        self,
        model: fx.GraphModule,
        example: Inputs,
        backend: str,
        folder: Path,
        bench: BenchConfig,
        images: Sequence[Inputs] = (),
    ) -> None:
        self.backend: Backend = get_backend(backend)
        missing = self.backend.available("int8") or self.backend.runnable("int8")
        if missing is not None:
            raise UnsupportedEnvironment(
                f"{title_of(backend)} engines cannot be used here", why=missing.why, fix=missing.fix
            )
        example = to_device(example, torch.device("cpu"))
        self.bench, self._graph, self._plan = bench, folder / "trained.onnx", folder / "plan.json"
        self._folder = folder / "engines" / backend
        self.feeds = {name: value.numpy() for name, value in named_inputs(model, example).items()}
        on_main(lambda: self._export(model, example, images))
        self.key = sha256_json([sha256_file(self._plan), self.backend.version(), bench.model_dump(mode="json")])

    def _export(self, model: fx.GraphModule, example: Inputs, images: Sequence[Inputs]) -> None:
        graph, plan = planned(model, example, OPSET)
        if images and len(self.feeds) == 1:  # ranges of a graph are observed through its one input
            arrays = [value.cpu().numpy() for image in images for value in named_inputs(model, image).values()]
            plan = complete(plan, graph, arrays, [self._goal(ALL_INT8)])
        onnx_graph.save(graph, self._graph)
        write_plan(plan.of_graph(self._graph), self._plan)

    def bundle(self, skip: Skip) -> Bundle:
        """The engine with the layers `skip` in float and all others in INT8 where the rules allow it."""
        folder = self._folder / sha256_json([self.key, sorted(skip)])[:16]
        if not (folder / "manifest.json").is_file():
            graph = folder.with_suffix(".onnx")
            write_applied(self._graph, self._plan, self._goal(skip), graph)
            precision: Precision = "fp32" if skip == ALL_FLOAT else "int8"
            self.backend.build(graph, folder, BuildOptions(precision, threads=self.bench.threads))
            graph.unlink()
        return read_bundle(folder)

    def _goal(self, skip: Skip) -> TargetConfig:
        target = target_for(self.backend.target)
        return TargetConfig(target, select(target.rule_set), skip)

    def time(self, wanted: Mapping[str, Skip]) -> dict[str, Samples]:
        """Latency of several engines, measured in turns; milliseconds by name, each (rounds, runs)."""
        with ExitStack() as stack:
            sessions = {
                name: stack.enter_context(self.backend.open(self.bundle(skip)))
                for name, skip in track(list(wanted.items()), "building engines")
            }
            feeds = {n: {key: self.feeds[key] for key in session.input_names} for n, session in sessions.items()}
            return time_in_turns(sessions, feeds, self.bench)


def on_main(work: Callable[[], T]) -> T:
    """Run `work` in the first process and return its result in all processes; they wait, and fail where it fails."""
    outcome: list[Any] = [None, None]
    if is_main():
        try:
            outcome[0] = work()
        except NOT_BUILDABLE as error:
            outcome[1] = str(error)
            gathered(outcome)
            raise
    value, failure = gathered(outcome)[0]
    if failure is not None:
        raise RuntimeError(failure)
    return cast(T, value)
