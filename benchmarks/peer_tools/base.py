"""What a peer is, and what it is given to quantize."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from deploy.targets.base import Unavailable


@dataclass(frozen=True)
class Source:
    """The same for every peer.

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
class Peer:
    """One way to quantize.

    Attributes:
        name: as tables show it.
        family: what `--peers` selects by.
        module: has `quantize(source, out, **settings)`, which writes `file`.
        call: the toolkit's own function, for the reader.
        settings: what it is asked for; everything else is the toolkit's default.
        file: the quantized model.
        backends: engines that take that model.
        imports: packages it needs beyond this project's own, some of them undeclared by the toolkit.
        packages: distributions whose versions decide the result.
    """

    name: str
    family: str
    module: str
    call: str
    settings: Mapping[str, Any]
    file: str
    backends: tuple[str, ...]
    imports: tuple[str, ...]
    packages: tuple[str, ...]
    beside: tuple[str, ...] = field(default=())  # files that belong to `file`

    @property
    def files(self) -> tuple[str, ...]:
        """All files it writes; the one that is opened comes last."""
        return (*self.beside, self.file)

    @property
    def asked(self) -> str:
        """The call with its settings, as tables and docs show it."""
        return f"{self.call}: {', '.join(f'{key}={value}' for key, value in self.settings.items())}"

    def missing(self) -> Unavailable | None:
        """None when its packages are here."""
        absent = [name for name in self.imports if util.find_spec(name) is None]
        if not absent:
            return None
        return Unavailable(f"not installed: {', '.join(absent)}", "run `make peers`")

    def versions(self) -> dict[str, str]:
        """Version by distribution."""
        return {name: metadata.version(name) for name in self.packages}
