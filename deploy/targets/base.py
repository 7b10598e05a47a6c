"""The interface of a backend: it builds an engine bundle from ONNX, opens it, and lists the layers that run in INT8."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deploy.bundle.types import BuildOptions, Bundle, Precision

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Unavailable:
    """The reason why something cannot run here, and a fix."""

    why: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.why}; fix: {self.fix}" if self.fix else self.why


_SIZE_BYTES = {"int8": 1, "bool": 1, "fp16": 2, "bf16": 2, "int64": 8}  # 4 for every other type


@dataclass(frozen=True)
class Tensor:
    """Shape and type of a tensor that a layer reads or writes.

    Attributes:
        shape: channels second, as in the network, for any layout in memory; 1 for a dynamic dimension.
        dtype: "int8" (signed or not), "fp16", "bf16", "fp32", "int32", "int64", "bool" or "unknown".
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Size in memory; an unknown type counts as 4 bytes an element."""
        return self.elements * _SIZE_BYTES.get(self.dtype, 4)


@dataclass(frozen=True)
class LayerInfo:
    """One layer of the built engine.

    Attributes:
        name: the engine's own name for it.
        kind: normalised operator kind: "Conv" for a (fused) convolution, else the engine's type name.
        precision: arithmetic of the kernel: "int8", "fp32", "bf16", "fp16" or "unknown".
        detail: the evidence (OpenVINO primitiveType, ORT op type, TensorRT tactic or format).
        origin: names of the ONNX nodes fused into it, where the engine lists them.
        inputs, constants, outputs: tensors it reads and writes; empty where the engine lists none, and for layers that
            are never executed. Constants are weights, biases and scales.
    """

    name: str
    kind: str
    precision: str
    detail: str = ""
    origin: Sequence[str] = ()
    inputs: tuple[Tensor, ...] = ()
    constants: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()

    @property
    def output(self) -> str:
        """Type of its first result; "" where the engine lists none."""
        return self.outputs[0].dtype if self.outputs else ""


@dataclass(frozen=True)
class LayerTime:
    """One layer: the engine's own name, its kind ("Conv" for every convolution), its precision, and milliseconds."""

    name: str
    kind: str
    precision: str
    ms: float


Wait = Callable[[], Tensors]  # waits for the results of one request


@dataclass(frozen=True)
class Requests:
    """Several inferences in flight: `submit` starts one; at most `capacity` of its waits may be outstanding."""

    capacity: int
    submit: Callable[[Tensors], Wait]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]


@dataclass(frozen=True)
class Triton:
    """Settings with which Triton Inference Server runs an engine.

    Attributes:
        backend, kind: names in `config.pbtxt`.
        files: names in the bundle, with the names that Triton expects.
        built_elsewhere: the engine's version may differ from the library here; Triton's own library loads it.
        parameters: of the backend in `config.pbtxt`, from the bundle's manifest.
    """

    backend: str
    kind: str
    files: Mapping[str, str]
    built_elsewhere: bool = False
    parameters: Callable[[Mapping[str, Any]], dict[str, str]] = lambda manifest: {}


class Session(Protocol):
    """An opened engine."""

    input_names: tuple[str, ...]
    output_names: tuple[str, ...]

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run once. `feeds`: float32 arrays by input name, NCHW."""

    def time_ms(self, feeds: Tensors, runs: int) -> NDArray[np.float64]:
        """Wall time of each of `runs` inferences in milliseconds (inputs already in place)."""


class Backend(Protocol):
    """One inference engine family.

    Attributes:
        name: also of its folder, its target and its bundles.
        title: the name for people.
        target: key of `deploy.targets.TARGETS`.
        section: key in `deploy` of the options that only this family reads; "" where it has none.
        files: every file of a bundle that is loaded.
        triton: how Triton serves it; None where it does not.
    """

    name: str
    title: str
    target: str
    section: str
    files: tuple[str, ...]
    precisions: tuple[Precision, ...]
    triton: Triton | None

    @property
    def fallback_in_graph(self) -> bool:
        """Return True if the builder takes the fallback precision from the graph."""

    def version(self) -> str:
        """Version of the vendor's library; an engine runs only with the version that built it."""

    def device(self, precision: Precision) -> Mapping[str, Any]:
        """The part of this machine that decides how `precision` is built: `cpu`, its abilities, or `gpu`."""

    def available(self, precision: Precision) -> Unavailable | None:
        """None when `precision` can be built here."""

    def runnable(self, precision: Precision) -> Unavailable | None:
        """None when a bundle of `precision` can be opened here (RTX builds without a GPU but cannot run)."""

    def build(self, onnx: Path, out: Path, options: BuildOptions) -> Bundle:
        """Build an engine from `onnx` into the folder `out` (replaced atomically)."""

    def open(self, bundle: Bundle) -> AbstractContextManager[Session]:
        """Check the engine's hash, then load it."""

    def layers(self, bundle: Bundle) -> list[LayerInfo]:
        """Layers with their precision, read from the built engine."""

    def profile(self, bundle: Bundle, feeds: Tensors, runs: int) -> Iterable[LayerTime] | None:
        """Median time of every executed layer over `runs` inferences, by the vendor's profiler; None without one."""

    def requests(self, bundle: Bundle, threads: int) -> AbstractContextManager[Requests] | None:
        """The engine, opened for several inferences at a time on `threads` CPUs; None where this is not supported."""
