"""Predictions of the fake-quantized model on the validation split: the reference for engines."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.config import Config
from core.console import say
from core.files.artifacts import write_atomic, write_json
from core.files.paths import RunPaths
from qat.data import normalize
from qat.evaluation.evaluate import predictions
from qat.quantization.quantized_layers import known_type
from qat.quantization.toolkits import described
from qat.tasks import dataset_of, task_of
from qat.tasks.base import Answer, Evidence

PARITY_IMAGES = 2
NUDGE = np.float32(1e-6)  # relative, some float32 roundings
CALIBRATION_IMAGES = 8


def save_predictions(model: nn.Module, config: Config, paths: RunPaths) -> None:
    """Write the answers of `model` on val (N, ...), its score and the toolkit."""
    task, data = task_of(config), dataset_of(config, "val")
    answers, evidence = list[Answer](), list[Evidence]()
    for sample, answer in predictions(model, data, config.data, task=task):
        answers.append(answer)
        evidence.append(task.evidence(answer, sample.label, config.model.num_classes))
    score = task.score(np.stack(evidence), data.class_names)
    say(f"qat: simulated INT8 {score.metric} {score.value:.2f} % on {score.images} val images")
    with write_atomic(paths.simulated) as temporary:
        np.savez_compressed(temporary, answers=np.stack(answers))
    write_json(paths.simulated_score, {"simulated": score.to_json(), "toolkit": described(config.qat.toolkit)})


def save_parity(model: nn.Module, config: Config, paths: RunPaths) -> None:
    """Write the first images of val (N, C, H, W) and their logits, also under rounding, for `deploy.checks.parity`."""
    data = dataset_of(config, "val")
    count = min(PARITY_IMAGES, len(data))
    images = np.stack([normalize(data[index].image, config.data) for index in range(count)])
    with torch.inference_mode():
        on_cpu = copy.deepcopy(model).cpu()
        logits = on_cpu(torch.from_numpy(images)).numpy()
        nudge_layers(on_cpu)
        nudged = on_cpu(torch.from_numpy(images * (1 + NUDGE))).numpy()
    with write_atomic(paths.parity) as temporary:
        np.savez(temporary, images=images, logits=logits, nudged=nudged)


def nudge_layers(model: nn.Module) -> None:
    """Add to every layer with a weight the error of another order of summation, always the same.

    Each layer of an engine rounds by itself. An untrained or badly trained network magnifies this layer by layer, more
    than it magnifies a change of the image alone.
    """
    generator = torch.Generator().manual_seed(0)

    def err(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return output * (1 + float(NUDGE) * torch.randn(output.shape, generator=generator))

    for module in model.modules():
        if known_type(module) is not None:
            module.register_forward_hook(err)


def save_calibration(config: Config, paths: RunPaths) -> None:
    """Write evenly spaced images of train, for scales that only some targets need."""
    data = dataset_of(config, "train")
    count = min(CALIBRATION_IMAGES, len(data))
    images = np.stack([data[index * len(data) // count].image for index in range(count)])
    mean, std = (np.asarray(values, np.float32) for values in (config.data.mean, config.data.std))
    with write_atomic(paths.calibration) as temporary:
        np.savez(temporary, images=images, mean=mean, std=std)
