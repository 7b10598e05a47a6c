"""The findings of a sensitivity analysis of the run's weights that the report shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from core.files.artifacts import read_json, sha256_file
from core.files.paths import RunPaths
from qat.sensitivity.types import label_of

PATTERN = "*/*.sensitivity/results.json"  # folder under runs/ in which an analysis may have its own folder


class Part(BaseModel):
    """Base of the models: keys that the report does not show are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Damage(Part):
    """Damage against FP32, with its 95 % interval over images."""

    value: float
    low: float
    high: float
    images: int


class QuantizerGroup(Part):
    """Quantizers that switch together; `float`: the chosen set leaves them in float."""

    name: str
    layers: tuple[str, ...]
    exact: Damage | None
    float: bool

    @property
    def label(self) -> str:
        """The name, with the number of its other layers."""
        return label_of(self.name, self.layers)


class Chosen(Part):
    """The network that the analysis proposes."""

    float_groups: tuple[str, ...]
    damage: Damage
    skip: tuple[str, ...]


class Tolerance(Part):
    """The limit on the damage."""

    limit: float


class Sensitivity(Part):
    """The part of an analysis' results.json that the report shows.

    Attributes:
        weights_sha256: of the weights that were analysed.
        damage: description of the measured quantity.
        path: of the file.
    """

    weights_sha256: str | None
    met: bool
    damage: str
    tolerance: Tolerance
    chosen: Chosen
    groups: tuple[QuantizerGroup, ...]
    command: str
    path: Path

    @property
    def float_labels(self) -> list[str]:
        """The chosen groups in the order of the choice."""
        labels = {group.name: group.label for group in self.groups}
        return [labels[name] for name in self.chosen.float_groups]

    @property
    def measured(self) -> list[tuple[QuantizerGroup, Damage]]:
        """Groups whose damage was measured, the most harmful first."""
        found = [(group, group.exact) for group in self.groups if group.exact is not None]
        return sorted(found, key=lambda pair: -pair[1].value)


def of_run(run: str) -> Sensitivity | None:
    """The newest analysis under runs/ of this run's weights; None when there is none."""
    paths = RunPaths(run)
    weights = {sha256_file(path) for path in (paths.fp32_checkpoint, paths.qat_checkpoint) if path.is_file()}
    newest_first = sorted(paths.dir.parent.glob(PATTERN), key=lambda path: path.stat().st_mtime, reverse=True)
    analyses = (_read(path) for path in newest_first)
    return next((found for found in analyses if found is not None and found.weights_sha256 in weights), None)


def _read(path: Path) -> Sensitivity | None:
    """The findings in a file; None for a file of another version."""
    content: Any = read_json(path)
    try:
        return Sensitivity.model_validate({**content, "path": path})
    except ValidationError:
        return None
