"""One baseline: a toolkit's call with its settings; and the network and images that every baseline is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from core.cli.naming import by_make
from deploy.targets.base import Unavailable

TOOLKITS = "benchmarks.baselines.toolkits"


@dataclass(frozen=True)
class Source:
    """The same for every baseline.

    Attributes:
        fp32_onnx: the run's float export, BatchNorm folded.
        images: calibration images of the training split, each (1, 3, H, W) float32 as the engine will see them.
        network: makes the torch network with the run's FP32 weights, for a toolkit that starts from torch.
    """

    fp32_onnx: Path
    images: Sequence[NDArray[np.float32]]
    network: Callable[[], Any]

    @property
    def input_name(self) -> str:
        """Name of the graph's input."""
        name: str = onnx.load(str(self.fp32_onnx), load_external_data=False).graph.input[0].name
        return name


@dataclass(frozen=True)
class Baseline:
    """One way to quantize.

    Attributes:
        name: as tables show it.
        family: selects it on the command line.
        toolkit: file in `toolkits/`.
        call: the toolkit's own function, for the reader.
        settings: its arguments; everything else is the toolkit's default.
        backends: engines that take its model.
        imports: packages it needs beyond this project's own, some of them undeclared by the toolkit.
        packages: distributions whose versions decide the result.
        files: all files it writes; the one to open comes last.
    """

    name: str
    family: str
    toolkit: str
    call: str
    settings: Mapping[str, Any]
    backends: tuple[str, ...]
    imports: tuple[str, ...]
    packages: tuple[str, ...]
    files: tuple[str, ...] = ("model.onnx",)

    @property
    def module(self) -> str:
        """Name of the module that has `quantize(source, out, **settings)`."""
        return f"{TOOLKITS}.{self.toolkit}"

    @property
    def file(self) -> str:
        """The quantized model."""
        return self.files[-1]

    @property
    def asked(self) -> str:
        """The call with its settings, as tables and docs show it."""
        return f"{self.call}: {', '.join(f'{key}={value}' for key, value in self.settings.items())}"

    def missing(self) -> Unavailable | None:
        """None when its packages are here."""
        absent = [name for name in self.imports if util.find_spec(name) is None]
        return Unavailable(f"not installed: {', '.join(absent)}", f"run `{by_make('peers')}`") if absent else None

    def versions(self) -> dict[str, str]:
        """Version by distribution."""
        return {name: metadata.version(name) for name in self.packages}
