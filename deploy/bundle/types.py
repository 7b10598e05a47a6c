"""A built engine on disk, and the options that it is built with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Precision = Literal["fp32", "bf16", "fp16", "int8"]


@dataclass(frozen=True)
class BuildOptions:
    """Options of a builder. `threads` is for CPU backends, `workspace_mib` for TensorRT.

    `fallback_precision` is TensorRT's for the float part of an INT8 graph.
    `tensorrt` is the config section `deploy.tensorrt` as JSON; its defaults where keys are missing.
    `meaning` and `placement` are JSON for the manifest, which the builder ignores: the meaning of the engine's tensors
    (see `deploy.bundle.meaning`) and the source of its Q/DQ.
    """

    precision: Precision
    threads: int = 1
    workspace_mib: int = 4096
    fallback_precision: Literal["fp16", "fp32"] = "fp16"
    verbose: bool = False
    tensorrt: Mapping[str, Any] = field(default_factory=dict)
    meaning: Mapping[str, Any] = field(default_factory=dict)
    placement: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """A built engine on disk: `dir` holds `manifest.json` and the files it names."""

    dir: Path
    backend: str
    precision: Precision
    manifest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Sum of the engine files, without the manifest."""
        return sum((self.dir / name).stat().st_size for name in self.manifest["files"])
