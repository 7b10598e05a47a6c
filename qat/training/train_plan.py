"""The plan of one training run: all settings of the loop besides model, data and loss."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import torch

from core.config import Config, section_dict
from core.files.artifacts import sha256_json
from core.files.paths import RunPaths
from deploy.hardware.cpu import cpu_flags
from qat.device import device_for
from qat.training.schedule import Schedule

Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class TrainPlan:
    """The settings of one training run.

    Attributes:
        stage: name shown to the user and written in every line of the metrics file.
        epochs: passes over the data; 0 writes the weights unchanged.
        batch_size: images per step and process.
        lr, momentum, weight_decay: of the optimizer (AdamW ignores momentum). Scales of quantizers do not decay.
        weights: path of the final state dict; the resume checkpoint lies beside it until then.
        metrics: JSON-lines file that is appended to.
        schedule: learning rate per step; `poly_power` belongs to "poly".
        warmup_steps: first steps, in which the rate rises linearly to `lr`.
        clip_norm: largest norm of a step's gradient, None for any.
        precision: bf16 is autocast with channels-last memory; "auto" uses it where the hardware supports it.
        device: of model and batches.
        seed: of data order and of the model's randomness.
        checkpoint_every_steps: a checkpoint is also written after every epoch.
        keeps_checkpoint: leave the resume checkpoint to the caller, whose work continues after the training; a restart
            then finds the training finished.
        workers: data loading processes, restarted for every epoch; 0 loads between the steps.
        identity: hash of other influences on the result (model, data); a checkpoint with another hash is not resumed.
    """

    stage: str
    epochs: int
    batch_size: int
    lr: float
    momentum: float
    weight_decay: float
    weights: Path
    metrics: Path
    optimizer: Literal["sgd", "adamw"] = "sgd"
    schedule: Schedule = "poly"
    poly_power: float = 0.9
    warmup_steps: int = 0
    clip_norm: float | None = None
    precision: Precision = "auto"
    device: torch.device = field(default_factory=device_for)
    seed: int = 0
    checkpoint_every_steps: int = 200
    keeps_checkpoint: bool = False
    workers: int = 0
    identity: str = ""

    @classmethod
    def of_fp32(cls, config: Config, paths: RunPaths) -> TrainPlan:
        """FP32 training with the poly schedule."""
        section, device = config.train, device_for(config.device)
        return cls(
            stage="fp32",
            epochs=section.epochs,
            batch_size=section.batch_size,
            lr=section.lr,
            momentum=section.momentum,
            weight_decay=section.weight_decay,
            weights=paths.fp32_checkpoint,
            metrics=paths.metrics,
            optimizer=section.optimizer,
            schedule="poly",
            poly_power=section.poly_power,
            precision=section.precision,
            device=device,
            seed=config.seed,
            checkpoint_every_steps=section.checkpoint_every_steps,
            workers=_workers(device),
            identity=_identity(config, "train"),
        )

    @classmethod
    def of_qat(cls, config: Config, paths: RunPaths) -> TrainPlan:
        """Fine-tuning with quantizers, by the cosine schedule."""
        section, device = config.qat, device_for(config.device)
        return cls(
            stage="qat",
            epochs=section.epochs,
            batch_size=section.batch_size,
            lr=section.lr,
            momentum=section.momentum,
            weight_decay=section.weight_decay,
            weights=paths.qat_checkpoint,
            metrics=paths.metrics,
            optimizer=section.optimizer,
            schedule="cosine",
            warmup_steps=section.warmup_steps,
            clip_norm=section.clip_norm,
            precision=config.train.precision,
            device=device,
            seed=config.fine_tuning_seed,
            checkpoint_every_steps=config.train.checkpoint_every_steps,
            workers=_workers(device),
            identity=_identity(config, "train", "qat", "placement"),
        )

    @property
    def resume(self) -> Path:
        """The checkpoint from which an interrupted run continues."""
        return self.weights.with_name(f"{self.weights.stem}.resume.pt")

    def key(self, *, images: int, processes: int, bf16: bool) -> str:
        """Hash of everything that determines the final weights; checkpoints with another key are not resumed."""
        elsewhere = {
            "weights",
            "metrics",
            "checkpoint_every_steps",
            "keeps_checkpoint",
            "workers",
            "precision",
            "device",
        }
        decisive = {name: value for name, value in asdict(self).items() if name not in elsewhere}
        return sha256_json({**decisive, "images": images, "processes": processes, "bf16": bf16})


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """Return True to train with bf16 autocast on `device`; "auto" checks the hardware, since emulated bf16 is slow."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return not cpu_flags().isdisjoint({"amx_bf16", "avx512_bf16"})


def _workers(device: torch.device) -> int:
    """The default number of workers. On a CPU it is 0: workers would take cores from the training."""
    return min(4, os.cpu_count() or 1) if device.type == "cuda" else 0


def _identity(config: Config, *sections: str) -> str:
    return sha256_json({name: section_dict(getattr(config, name)) for name in ("model", "data", *sections)})
