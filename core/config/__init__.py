"""The config of a run, one YAML file."""

from core.config.data import DataConfig
from core.config.run import (
    MOST_CLASSES,
    ActivationCalibrator,
    BenchConfig,
    CalibrationConfig,
    CalibrationOverride,
    Config,
    DeployConfig,
    DistillConfig,
    LayerSpec,
    ModelConfig,
    PlacementConfig,
    QatConfig,
    TaskName,
    TrainConfig,
    load_config,
    section_dict,
)

__all__ = [
    "MOST_CLASSES",
    "ActivationCalibrator",
    "BenchConfig",
    "CalibrationConfig",
    "CalibrationOverride",
    "Config",
    "DataConfig",
    "DeployConfig",
    "DistillConfig",
    "LayerSpec",
    "ModelConfig",
    "PlacementConfig",
    "QatConfig",
    "TaskName",
    "TrainConfig",
    "load_config",
    "section_dict",
]
