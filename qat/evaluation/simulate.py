"""What the fake-quantized model predicts on the validation split: the reference that engines are compared with."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from core.artifacts import write_atomic, write_json
from core.config import Config
from core.console import say
from core.paths import RunPaths
from qat.data import build_dataset, normalize
from qat.evaluation.evaluate import predictions
from qat.evaluation.metrics import ConfusionMatrix
from qat.quantization.toolkits import described

PARITY_IMAGES = 2
NUDGE = np.float32(1e-6)  # relative, some float32 roundings
CALIBRATION_IMAGES = 8


def save_predictions(model: nn.Module, config: Config, paths: RunPaths) -> None:
    """Write what `model` predicts on val (uint8, N×H×W), its score and the toolkit."""
    data = build_dataset(config.data, "val", seed=config.seed)
    matrix = ConfusionMatrix(config.model.num_classes)
    maps: list[NDArray[np.uint8]] = []
    for sample, prediction in predictions(model, data, config.data):
        matrix.update(prediction, sample.label)
        maps.append(prediction)
    score = matrix.score(data.class_names)
    say(f"qat: simulated INT8 mIoU {score.miou:.2f} % on {score.images} val images")
    with write_atomic(paths.simulated) as temporary:
        np.savez_compressed(temporary, labels=np.stack(maps))
    write_json(paths.simulated_score, {"simulated": score.to_json(), "toolkit": described(config.qat.toolkit)})


def save_parity(model: nn.Module, config: Config, paths: RunPaths) -> None:
    """Write the first images of val (N, C, H, W) and their logits, also under rounding, for `deploy.checks.parity`."""
    data = build_dataset(config.data, "val", seed=config.seed)
    count = min(PARITY_IMAGES, len(data))
    images = np.stack([normalize(data[index].image, config.data) for index in range(count)])
    with torch.inference_mode():
        on_cpu = copy.deepcopy(model).cpu()
        logits, nudged = (on_cpu(torch.from_numpy(value)).numpy() for value in (images, images * (1 + NUDGE)))
    with write_atomic(paths.parity) as temporary:
        np.savez(temporary, images=images, logits=logits, nudged=nudged)


def save_calibration(config: Config, paths: RunPaths) -> None:
    """Write evenly spaced images of train, for scales that only some targets need."""
    data = build_dataset(config.data, "train", seed=config.seed)
    count = min(CALIBRATION_IMAGES, len(data))
    images = np.stack([data[index * len(data) // count].image for index in range(count)])
    mean, std = (np.asarray(values, np.float32) for values in (config.data.mean, config.data.std))
    with write_atomic(paths.calibration) as temporary:
        np.savez(temporary, images=images, mean=mean, std=std)
