"""Engines with prescribed latencies, and a tiny data set that they can segment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.config import BenchConfig
from deploy.bundle.types import BuildOptions, Bundle, Precision
from deploy.pipeline import BuildOutcome
from deploy.targets.base import LayerInfo, Tensors, Unavailable
from qat.data.base import IGNORE, Sample
from qat.tasks import TASKS

SEGMENTATION = TASKS["segmentation"]
CLASSES, HEIGHT, WIDTH = 3, 16, 24
BENCH = BenchConfig(rounds=6, runs_per_round=3, warmup_ms=0, strip_images=2)


class Squares:
    """Images whose grey level is the class; the first row of every label map is ignored, class 2 never occurs."""

    class_names = ("road", "car", "tree")
    colors = ((128, 64, 128), (0, 0, 142), (107, 142, 35))

    def __init__(self, count: int = 5) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if index >= self.count:
            raise IndexError(index)
        label = np.zeros((HEIGHT, WIDTH), np.uint8)
        label[:, : 4 * (index + 1)] = 1
        image = np.repeat(label[..., np.newaxis], 3, axis=2)
        label[0] = IGNORE
        return Sample(image, label, f"square{index}")

    def fingerprint(self) -> str:
        return f"squares {self.count}"


def prepare(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return image.transpose(2, 0, 1).astype(np.float32)


@dataclass
class FakeSession:
    """A session that reads the class from the grey level; its last `wrong_columns` columns are always class 1.

    `clock` gives the milliseconds of each run, round after round; `log` records every call.
    """

    name: str = "fake"
    clock: Sequence[float] = (10.0,)
    wrong_columns: int = 0
    log: list[str] = field(default_factory=list)
    runs: int = 0
    input_names: Sequence[str] = ("image",)
    output_names: Sequence[str] = ("logits",)

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        self.log.append(f"run {self.name}")
        grey = feeds["image"][0, 0].copy()
        if self.wrong_columns:
            grey[:, -self.wrong_columns :] = 1
        return {"logits": np.stack([grey == index for index in range(CLASSES)])[np.newaxis].astype(np.float32)}

    def time_ms(self, feeds: Tensors, runs: int) -> NDArray[np.float64]:
        self.log.append(f"{self.name} {runs}")
        times = [self.clock[(self.runs + index) % len(self.clock)] for index in range(runs)]
        self.runs += runs
        return np.array(times)


@dataclass
class FakeBackend:
    """A backend that opens `sessions` by precision; precisions in `blocked` are built but cannot run here."""

    target = section = "tensorrt"
    name: str
    sessions: dict[str, FakeSession]
    blocked: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    precisions: Sequence[Precision] = ("fp32", "bf16", "int8")
    library: str = "1.0"

    def version(self) -> str:
        return self.library

    def available(self, precision: Precision) -> Unavailable | None:
        return None

    def runnable(self, precision: Precision) -> Unavailable | None:
        return Unavailable("no GPU here", "run on one") if precision in self.blocked else None

    def build(self, onnx: Path, out: Path, options: BuildOptions) -> Bundle:
        raise NotImplementedError

    @contextmanager
    def open(self, bundle: Bundle) -> Iterator[FakeSession]:
        if bundle.precision in self.broken:
            raise RuntimeError("plan is from another version")
        yield self.sessions[bundle.precision]

    def layers(self, bundle: Bundle) -> list[LayerInfo]:
        precision = "int8" if bundle.precision == "int8" else "fp32"
        return [LayerInfo("a", "Conv", precision), LayerInfo("b", "Conv", "fp32"), LayerInfo("c", "Add", precision)]


def built(root: Path, backend: str, precision: Precision, content: bytes = b"engine") -> BuildOutcome:
    """An outcome with a bundle on disk."""
    folder = root / f"{backend}-{precision}"
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"files": {"engine.bin": "?"}, "precision": precision}
    (folder / "engine.bin").write_bytes(content)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return BuildOutcome(backend, precision, Bundle(folder, backend, precision, manifest), "ok")
