"""From a peer's name to engine bundles: quantize in a process of its own, build with our backends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Literal

from benchmarks.peer_tools.base import Peer
from core.artifacts import write_text
from core.config import Config
from core.console import say
from core.errors import UserError
from core.paths import ROOT, RunPaths
from core.stages import Stage
from core.stages import ensure as ensure_stage
from deploy.bundle.store import read_bundle
from deploy.pipeline import built_with
from deploy.targets import get_backend
from deploy.targets.base import Backend, BuildOptions, Bundle, Precision
from qat.data import build_dataset

LOG_FILE = "quantize.log"


@dataclass(frozen=True)
class PeerOutcome:
    """What became of one peer on one backend; `reason` says why when there is no bundle."""

    peer: Peer
    backend: str
    bundle: Bundle | None
    status: Literal["ok", "failed", "unavailable"]
    reason: str = ""
    precision: Precision = "int8"


class QuantizationFailed(Exception):
    """A toolkit's process ended with an error; the message is its last line."""


def ensure(config: Config, peers: Iterable[Peer]) -> list[PeerOutcome]:
    """Quantize the run's FP32 graph with every peer and build what the config's backends can run here.

    A peer that is not installed, fails, or writes what an engine refuses is an outcome: it never stops the rest.
    """
    outcomes = []
    for peer in peers:
        backends = [get_backend(name) for name in peer.backends if name in config.deploy.backends]
        outcomes += _outcomes(peer, backends, config, RunPaths(config.run))
    return outcomes


def folder_of(peer: Peer, paths: RunPaths) -> Path:
    """Where a peer's model, log and bundles are kept."""
    return paths.dir / "peers" / peer.name


def _outcomes(peer: Peer, backends: Sequence[Backend], config: Config, paths: RunPaths) -> list[PeerOutcome]:
    blocked = {backend.name: peer.missing() or backend.runnable("int8") for backend in backends}
    found = [
        PeerOutcome(peer, name, None, "unavailable", "; fix: ".join(filter(None, (missing.why, missing.fix))))
        for name, missing in blocked.items()
        if missing is not None
    ]
    usable = [backend for backend in backends if blocked[backend.name] is None]
    if usable:
        try:
            model = _quantized(peer, config, paths)
        except (QuantizationFailed, UserError) as error:
            say(f"peer {peer.name}: failed: {error}")
            return found + [PeerOutcome(peer, backend.name, None, "failed", str(error)) for backend in usable]
        found += [_built(peer, backend, model, config, paths) for backend in usable]
    return found


def _quantized(peer: Peer, config: Config, paths: RunPaths) -> Path:
    """The peer's model, made again only if the float network, the images, or the recipe changed."""
    folder = folder_of(peer, paths)
    recipe = util.find_spec(peer.module)
    stage = Stage(
        name=f"peer {peer.name}",
        outputs=[folder / file for file in peer.files],
        inputs=(paths.float_onnx, *([Path(recipe.origin)] if recipe is not None and recipe.origin else [])),
        params={
            "settings": dict(peer.settings),
            "versions": peer.versions(),
            "images": config.qat.calibration.images,
            "normalization": {"mean": list(config.data.mean), "std": list(config.data.std)},
            "train": build_dataset(config.data, "train", seed=config.seed).fingerprint(),
        },
    )
    ensure_stage(stage, paths.manifest, lambda: _quantize(peer, paths, folder))
    return folder / peer.file


def _quantize(peer: Peer, paths: RunPaths, folder: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.peer_tools", peer.name, "--config", str(paths.config)]
    search = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    answer = subprocess.run(
        [*command, "--out", str(folder)],
        env={**os.environ, "PYTHONPATH": search},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    write_text(folder / LOG_FILE, answer.stdout)
    if answer.returncode:
        lines = [line.strip() for line in answer.stdout.splitlines() if line.strip()]
        last = lines[-1] if lines else "no message"
        raise QuantizationFailed(f"exit code {answer.returncode}: {last} (all of it in {folder / LOG_FILE})")


def _built(peer: Peer, backend: Backend, model: Path, config: Config, paths: RunPaths) -> PeerOutcome:
    out = folder_of(peer, paths) / backend.name
    options = BuildOptions("int8", threads=config.bench.threads, workspace_mib=config.deploy.workspace_mib)
    stage = Stage(
        name=f"peer {peer.name} on {backend.name}",
        outputs=(out / "manifest.json",),
        inputs=(model,),
        params={"options": vars(options), "built_with": built_with(backend, options.precision)},
    )
    try:
        ensure_stage(stage, paths.manifest, lambda: _build(backend, model, out, options))
    except Exception as error:  # a vendor's builder may raise anything; its row must say so and the others go on
        say(f"{stage.name}: failed: {error}")
        return PeerOutcome(peer, backend.name, None, "failed", " ".join(f"{type(error).__name__}: {error}".split()))
    return PeerOutcome(peer, backend.name, read_bundle(out), "ok")


def _build(backend: Backend, model: Path, out: Path, options: BuildOptions) -> None:
    backend.build(model, out, options)
