"""A run: one YAML file, checked before anything expensive starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from core.config.bench import BenchConfig
from core.config.data import CLASSIFIED
from core.config.data import DataConfig as DataConfig
from core.config.deploy import DeployConfig
from core.config.model import ModelConfig
from core.config.placement import PlacementConfig
from core.config.qat import QatConfig
from core.config.schema_errors import blamed, problems, shortened
from core.config.section import Device, Section
from core.config.train import TrainConfig
from core.config.yaml_file import parse, read_mapping
from core.errors import UserError
from core.nearest import path_hint

TaskName = Literal["segmentation", "classification"]
MOST_CLASSES: dict[TaskName, int] = {  # of segmentation: label maps are 8 bits, and 255 marks pixels without a class
    "segmentation": 255,
    "classification": 65535,
}
NETWORKS: dict[TaskName, tuple[str, ...]] = {
    "segmentation": ("pidnet_s", "pidnet_m", "pidnet_l"),
    "classification": ("resnet18", "resnet50", "efficientnet_lite0"),
}


class Config(Section):
    """One run, from data to table."""

    run: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    task: TaskName = "segmentation"
    seed: int = Field(default=0, ge=0, lt=2**32)  # as NumPy takes them
    device: Device = "auto"  # of training, calibration and scoring in PyTorch; auto: CUDA where there is any
    model: ModelConfig
    data: DataConfig
    train: TrainConfig = TrainConfig()
    qat: QatConfig
    placement: PlacementConfig = PlacementConfig()
    deploy: DeployConfig = DeployConfig()
    bench: BenchConfig = BenchConfig()

    @model_validator(mode="after")
    def _fits_the_task(self) -> Config:
        most, networks = MOST_CLASSES[self.task], (*NETWORKS[self.task], "custom")
        if self.model.name not in networks:
            raise ValueError(f"`task: {self.task}` goes with model.name {' | '.join(networks)}, not {self.model.name}")
        if self.model.num_classes > most:
            raise ValueError(f"model.num_classes is {self.model.num_classes}; {self.task} has at most {most} classes")
        if self.data.name != "custom" and (self.data.name in CLASSIFIED) != (self.task == "classification"):
            raise ValueError(f"data.name {self.data.name} has no labels for `task: {self.task}`")
        return self

    @model_validator(mode="after")
    def _sides(self) -> Config:
        if self.model.name in NETWORKS["segmentation"] and (self.data.height_px % 8 or self.data.width_px % 8):
            raise ValueError("PIDNet needs data.height_px and data.width_px to be multiples of 8")
        return self

    @model_validator(mode="after")
    def _masks_where_they_are_needed(self) -> Config:
        if not self.data.train_masks and self.model.checkpoint is None:
            raise ValueError("FP32 training needs labels: with `data.train_masks: false` set model.checkpoint")
        if not self.data.train_masks and self.qat.epochs and self.qat.distill.labels:
            raise ValueError("without labels fine-tuning learns from FP32 alone: set qat.distill.labels: false")
        return self

    @model_validator(mode="after")
    def _weights_from_somewhere(self) -> Config:
        if self.train.epochs == 0 and self.model.checkpoint is None:
            raise ValueError("there are no FP32 weights: set model.checkpoint, or train.epochs above 0")
        return self

    @property
    def image_to_mask(self) -> tuple[str, ...]:
        """Precisions that are also built from image to label map: there is none where images have one class each."""
        return self.deploy.image_to_mask if self.task == "segmentation" else ()

    @property
    def fine_tuning_seed(self) -> int:
        """Of the order and augmentation of images in fine-tuning."""
        return self.seed if self.qat.seed is None else self.qat.seed


def load_config(path: Path, overrides: list[str] | None = None) -> Config:
    """Read a YAML run config and apply `a.b=c` overrides (values are YAML).

    Raises:
        UserError: no such file, a YAML error, a repeated key, or a value the schema refuses.
    """
    if not path.is_file():
        known = ", ".join(sorted(str(p) for p in Path("configs").glob("*.yaml"))) or "none here"
        raise UserError(f"no config file {path}", fix=path_hint(path, f"give --config one of: {known}"))
    raw = read_mapping(path, "configs/pidnet_s_streets.yaml")
    of_file = _problems(raw) if overrides else []
    for override in overrides or []:
        _apply(raw, override)
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        found = problems(error, Config)
        of_set = not set(found) & set(of_file)
        what = f"{blamed(overrides, found)} is not valid" if overrides and of_set else f"{path} is not a valid config"
        raise UserError(what, why="; ".join(found), fix="see docs/reference/config.md") from error


def _problems(raw: dict[str, Any]) -> list[str]:
    try:
        Config.model_validate(raw)
    except ValidationError as error:
        return problems(error, Config)
    return []


def section_dict(section: BaseModel) -> dict[str, Any]:
    """A section as plain JSON values, for hashes and manifests."""
    return section.model_dump(mode="json")


def _apply(raw: dict[str, Any], override: str) -> None:
    dotted, separator, text = override.partition("=")
    shown = f"--set {shortened(override)}"
    if not separator or not dotted:
        raise UserError(shown, why="not of the form a.b=c")
    *parents, leaf = dotted.split(".")
    section = raw
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise UserError(shown, why=f"{parent} is a value, not a section")
    section[leaf] = parse(text, f"{shown}: the value is not valid YAML")
