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
from qat.quantization.quantizers import quantizers
from qat.quantization.toolkits import described

PARITY_IMAGES = 2
CALIBRATION_IMAGES = 8


def save_predictions(model: nn.Module, config: Config, paths: RunPaths) -> None:
    """Write what `model` predicts on val (uint8, N×H×W), its score, the toolkit, and every range with its origin."""
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
    ranges = {
        name: {"origin": quantizer.origin, "amax": quantizer.amax.detach().abs().reshape(-1).tolist()}
        for name, quantizer in quantizers(model).items()
    }
    toolkit = described(config.qat.toolkit)
    write_json(paths.quantizers, {"simulated": score.to_json(), "toolkit": toolkit, "quantizers": ranges})


def save_parity(model: nn.Module, config: Config, paths: RunPaths) -> None:
    """Write the first images of val (N, C, H, W) and their logits, computed on the CPU, for `deploy.checks.parity`."""
    data = build_dataset(config.data, "val", seed=config.seed)
    count = min(PARITY_IMAGES, len(data))
    images = np.stack([normalize(data[index].image, config.data) for index in range(count)])
    with torch.inference_mode():
        logits = copy.deepcopy(model).cpu()(torch.from_numpy(images)).numpy()
    with write_atomic(paths.parity) as temporary:
        np.savez(temporary, images=images, logits=logits)


def save_calibration(config: Config, paths: RunPaths) -> None:
    """Write evenly spaced images of train, for scales that only some engines want (`deploy.plan.observe`)."""
    data = build_dataset(config.data, "train", seed=config.seed)
    count = min(CALIBRATION_IMAGES, len(data))
    images = np.stack([data[index * len(data) // count].image for index in range(count)])
    mean, std = (np.asarray(values, np.float32) for values in (config.data.mean, config.data.std))
    with write_atomic(paths.calibration) as temporary:
        np.savez(temporary, images=images, mean=mean, std=std)
