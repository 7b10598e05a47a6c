"""An estimate of an engine's time on a device that is not here, from its layers and the device's public figures.

A layer takes the longer of moving its bytes and computing its products, and a launch:
max(bytes / bandwidth, 2 × multiply-adds / throughput) + launch. Layers run one after the other. It is an estimate: see
`IGNORED`. Method: Williams, Waterman and Patterson, "Roofline", CACM 2009.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic.types import PositiveFloat

from core.config.schema_errors import problems
from core.config.section import Section
from core.errors import UserError
from core.nearest import did_you_mean, path_hint
from deploy.targets.base import LayerInfo
from deploy.targets.layer_work import bytes_moved, executed, macs

BOUNDS = ("bytes", "products", "launch")
IGNORED = "caches, how well a kernel uses the device, clocks, copies from and to the host, and streams side by side"
_TABLE = Path(__file__).with_name("devices.yaml")
_CLASS = {"int8": "int8", "fp16": "fp16", "bf16": "fp16"}  # every other precision is taken as FP32


class Throughput(Section):
    """10^12 operations a second without sparsity; a multiply-add counts as two."""

    int8: PositiveFloat
    fp16: PositiveFloat
    fp32: PositiveFloat


class Device(Section):
    """Public figures of one device. `launch_us` is lost between two kernels, `source` is where the figures are from."""

    bandwidth_gb_s: PositiveFloat
    tops: Throughput
    launch_us: float
    source: str


@dataclass(frozen=True)
class LayerEstimate:
    """One layer; `bound` is the longest part of its time, one of `BOUNDS`."""

    name: str
    us: float
    bound: str


@dataclass(frozen=True)
class Estimate:
    """Estimated time of an engine on `device`, in microseconds; `layers` in the engine's order."""

    device: str
    precision: str
    us: float
    layers: tuple[LayerEstimate, ...]

    def bound_by(self, bound: str) -> int:
        """Number of layers whose time `bound` decides."""
        return sum(layer.bound == bound for layer in self.layers)


def find_device(name: str) -> tuple[str, Device]:
    """A device of the table by name, or the only one in a YAML file of the same form.

    Raises:
        UserError: the table has no such name, or the file does not hold exactly one device.
    """
    own = Path(name)
    if own.suffix not in {".yaml", ".yml"}:
        known = _read(_TABLE)
        if name not in known:
            fix = f"{did_you_mean(name, known)} A .yaml file in the form of {_TABLE.name} is taken, too"
            raise UserError(f"no device {name!r}", fix=fix)
        return name, known[name]
    if not own.is_file():
        raise UserError(f"no file {own}", fix=path_hint(own, f"write one device in the form of {_TABLE}"))
    found = _read(own)
    if len(found) != 1:
        raise UserError(f"{own} holds {len(found)} devices", why="one is estimated at a time", fix="leave one")
    return next(iter(found.items()))


def _read(path: Path) -> dict[str, Device]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {str(name): Device.model_validate(figures) for name, figures in content.items()}
    except (yaml.YAMLError, AttributeError) as error:
        raise UserError(f"{path} is not a table of devices", why=str(error), fix=f"see {_TABLE}") from error
    except ValidationError as error:
        why = "; ".join(problems(error, Device))
        raise UserError(f"{path} is not a table of devices", why=why, fix=f"see {_TABLE}") from error


def estimate(layers: Sequence[LayerInfo], precision: str, name: str, device: Device) -> Estimate:
    """Time of every executed layer and their sum.

    Raises:
        UserError: the engine lists no shapes.
    """
    if not any(layer.outputs for layer in layers):
        raise UserError("the engine lists no shapes", why="bytes are counted from them", fix="build the engine anew")
    found = tuple(_layer(layer, device) for layer in executed(layers))
    return Estimate(name, precision, sum(layer.us for layer in found), found)


def _layer(layer: LayerInfo, device: Device) -> LayerEstimate:
    throughput = getattr(device.tops, _CLASS.get(layer.precision, "fp32"))
    moving_us = bytes_moved(layer) / (device.bandwidth_gb_s * 1e3)
    computing_us = 2 * macs(layer) / (throughput * 1e6)
    _, bound = max(zip((moving_us, computing_us, device.launch_us), BOUNDS, strict=True), key=lambda pair: pair[0])
    return LayerEstimate(layer.name, max(moving_us, computing_us) + device.launch_us, bound)


def to_json(estimates: Sequence[Estimate]) -> dict[str, Any]:
    """For `--json`: the sum of each precision, and the layers of the first."""
    return {
        "label": f"estimate, not a measurement; ignored: {IGNORED}",
        "device": estimates[0].device,
        "us": {each.precision: round(each.us, 2) for each in estimates},
        "layers": [vars(layer) for layer in estimates[0].layers],
    }
