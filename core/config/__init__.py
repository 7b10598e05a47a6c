"""The config of a run, one YAML file."""

from core.config.bench import BenchConfig
from core.config.data import DataConfig
from core.config.deploy import DeployConfig
from core.config.model import ModelConfig
from core.config.placement import LayerSpec, PlacementConfig
from core.config.qat import ActivationCalibrator, CalibrationConfig, CalibrationOverride, DistillConfig, QatConfig
from core.config.run import MOST_CLASSES, Config, TaskName, load_config, section_dict
from core.config.train import TrainConfig

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
