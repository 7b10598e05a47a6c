"""What a sensitivity analysis of the run's weights found, for the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from core.artifacts import read_json, sha256_file
from core.paths import RunPaths
from qat.sensitivity.types import label_of

PATTERN = "*/*.sensitivity/results.json"  # below runs/: an analysis may have a folder of its own there


class Part(BaseModel):
    """Base of the models: what the report does not show is left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Damage(Part):
    """How much worse than FP32, with its 95 % interval over images."""

    value: float
    low: float
    high: float
    images: int


class Unit(Part):
    """Quantizers that are switched together; `float` tells that the chosen set leaves it in float."""

    name: str
    layers: tuple[str, ...]
    exact: Damage | None
    float: bool

    @property
    def label(self) -> str:
        """The name and how many layers it does not tell of."""
        return label_of(self.name, self.layers)


class Chosen(Part):
    """The network that the analysis proposes."""

    float_units: tuple[str, ...]
    damage: Damage
    skip: tuple[str, ...]


class Tolerance(Part):
    """The limit of the damage."""

    limit: float


class Sensitivity(Part):
    """The part of an analysis' results.json that the report shows.

    Attributes:
        weights_sha256: of the weights that were analysed.
        damage: what was measured, in words.
        path: of the file.
    """

    weights_sha256: str | None
    met: bool
    damage: str
    tolerance: Tolerance
    chosen: Chosen
    units: tuple[Unit, ...]
    command: str
    path: Path

    @property
    def float_labels(self) -> list[str]:
        """The chosen units in the order of the choice."""
        labels = {unit.name: unit.label for unit in self.units}
        return [labels[name] for name in self.chosen.float_units]

    @property
    def measured(self) -> list[tuple[Unit, Damage]]:
        """Units whose damage was measured, the most harmful first."""
        found = [(unit, unit.exact) for unit in self.units if unit.exact is not None]
        return sorted(found, key=lambda pair: -pair[1].value)


def of_run(run: str) -> Sensitivity | None:
    """The newest analysis below runs/ of weights that are this run's; None when there is none."""
    paths = RunPaths(run)
    weights = {sha256_file(path) for path in (paths.fp32_checkpoint, paths.qat_checkpoint) if path.is_file()}
    newest_first = sorted(paths.dir.parent.glob(PATTERN), key=lambda path: path.stat().st_mtime, reverse=True)
    analyses = (_read(path) for path in newest_first)
    return next((found for found in analyses if found is not None and found.weights_sha256 in weights), None)


def _read(path: Path) -> Sensitivity | None:
    """None for a file of another version."""
    content: Any = read_json(path)
    try:
        return Sensitivity.model_validate({**content, "path": path})
    except ValidationError:
        return None
