"""The `config.yaml` of `sensitivity_analysis.py`: four keys are required, the others have defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from core.backends import BackendName
from core.config import CalibrationConfig
from core.config.schema_errors import problems
from core.config.section import Device, Section
from core.config.yaml_file import read_mapping
from core.errors import UserError
from core.nearest import path_hint
from qat.sensitivity.types import Part, ToleranceKind

Granularity = Literal["quantizer", "layer", "group", "block"]
RankingMode = Literal["one_in", "one_out"]
UNMET = ".unmet.pt"  # suffixes of files beside or instead of `output_file`
PREVIOUS = ".previous.pt"
EXAMPLE = "see examples/sensitivity_classifier/config.yaml"


class SearchConfig(Section):
    """The search for the groups that must stay float."""

    window: int = Field(default=4, gt=0)  # candidates measured before each revert
    max_evaluations: int | None = Field(default=None, gt=0)  # sets that are measured; None: 6 for each group and 20
    trial_images: int | None = Field(default=None, gt=0)  # candidates are compared on these; None: all


class EngineConfig(Section):
    """The engine that the choice is checked on."""

    backend: BackendName = "openvino"
    threads: int = Field(default=1, gt=0)
    rounds: int = Field(default=20, gt=0)
    runs_per_round: int = Field(default=3, gt=0)
    choose: Literal["smallest", "fastest"] = "smallest"  # of the float groups, or the engine
    pareto_points: int = Field(default=5, ge=0)  # sets that are built and measured; 0: no Pareto search


class RecoverConfig(Section):
    """Fine-tuning of the chosen model with the user's optimizer."""

    steps: int = Field(gt=0)


class SensitivityConfig(Section):
    """One analysis. Input paths are looked up in the current folder, then beside the config."""

    model_path: Path
    data_path: Path
    output_file: Path
    tolerance: float = Field(allow_inf_nan=False)
    tolerance_kind: ToleranceKind = "loss_increase"
    model_file: Path = Path("my_model.py")
    trust_pickle: bool = False  # model_path may run the code that is pickled in it
    granularity: Granularity = "group"
    mode: RankingMode = "one_in"
    part: Part = "both"
    seed: int = Field(default=0, ge=0)
    device: Device = "auto"  # of the network; auto: a GPU, unless the user's file places it
    images: int | None = Field(default=None, gt=0)  # of the loader; None: all
    calibration: CalibrationConfig = CalibrationConfig()
    screen: Literal["distance", "gradient"] = "distance"  # of outputs, or first order of the loss
    screen_images: int = Field(default=4, gt=0)  # every group is screened on these
    exact_top: int = Field(default=8, ge=0)  # groups measured exactly after the screen
    exact_images: int = Field(default=24, gt=0)
    full_top: int = Field(default=4, ge=0)  # at most so many of `exact_top` are measured on all images
    search: SearchConfig = SearchConfig()
    engine: EngineConfig | None = EngineConfig()  # None (`engine: null`): no engine is built
    recover: RecoverConfig | None = None
    cache: Path | None = None  # finished trials; None: beside output_file


def load_sensitivity_config(path: Path) -> SensitivityConfig:
    """Read and check a config; input paths come back resolved.

    Raises:
        UserError: no such file, not a YAML mapping, a repeated key, or a key or value that the schema refuses.
    """
    if not path.is_file():
        raise UserError(f"no config file {path}", fix=path_hint(path, EXAMPLE))
    raw = read_mapping(path, "examples/sensitivity_classifier/config.yaml")
    try:
        config = SensitivityConfig.model_validate_json(json.dumps(raw, default=str), strict=True)  # no true for 1
    except ValidationError as error:
        why = "; ".join(problems(error, SensitivityConfig))
        raise UserError(
            f"{path} is not a valid config", why, fix="docs/guides/sensitivity.md lists the keys"
        ) from error
    found = {key: _found(getattr(config, key), path.parent) for key in ("model_path", "data_path", "model_file")}
    config = config.model_copy(update=found)
    _refuse_lost_inputs(config)
    return config


def _refuse_lost_inputs(config: SensitivityConfig) -> None:
    """Raise `UserError` where `output_file` or a relative of it would replace a file that the analysis reads."""
    if config.output_file.is_dir():
        raise UserError(f"output_file {config.output_file} is a folder", fix="name a file, such as best.pt")
    written = [config.output_file, *map(config.output_file.with_suffix, (UNMET, PREVIOUS))]
    for key in ("model_path", "model_file", "data_path"):
        if getattr(config, key).resolve() in [path.resolve() for path in written]:
            why = f"the analysis writes {', '.join(path.name for path in written)}"
            raise UserError(f"output_file would replace {key} {getattr(config, key)}", why, "give it another name")


def _found(wanted: Path, beside: Path) -> Path:
    """`wanted` from the current folder, or else from the config's; as given when it is in neither."""
    return beside / wanted if not wanted.exists() and (beside / wanted).exists() else wanted
