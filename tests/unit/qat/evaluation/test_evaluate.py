"""Scoring a predictor on a data set."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.config import DataConfig
from core.errors import UserError
from qat.data import IGNORE, Sample, normalize
from qat.evaluation.evaluate import evaluate

CFG = DataConfig(height_px=8, width_px=16)


class Colours:
    """Images in which the brightest channel is the class; `sizes` are (H, W)."""

    class_names = ("red", "green", "blue")
    colors = ((255, 0, 0), (0, 255, 0), (0, 0, 255))

    def __init__(self, sizes: tuple[tuple[int, int], ...] = ((8, 16),) * 5) -> None:
        rng = np.random.default_rng(0)
        self.samples: list[Sample] = []
        for height, width in sizes:
            label = rng.integers(0, 3, (height, width)).astype(np.uint8)
            image = np.eye(3, dtype=np.uint8)[label] * 255
            label[0] = IGNORE
            self.samples.append(Sample(image, label, f"image{len(self.samples)}"))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    def fingerprint(self) -> str:
        return "colours"


class Brightest(nn.Module):
    """A network whose logits are the channels without normalisation; batch norm reveals a wrong mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3, affine=False)
        self.weight = nn.Parameter(torch.tensor(CFG.std).view(1, 3, 1, 1))
        self.seen: list[tuple[torch.Size, torch.dtype, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((x.shape, x.dtype, torch.is_autocast_enabled("cpu")))
        return self.norm(x) * self.weight + torch.tensor(CFG.mean).view(1, 3, 1, 1)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_perfect_predictor_scores_100_whatever_the_batch(batch_size: int) -> None:
    model = Brightest()
    score = evaluate(model, Colours(), CFG, 3, batch_size)
    assert (score.value, score.values["pixel accuracy"].value, score.images) == (100.0, 100.0, 5)
    assert set(score.per_class) == {"red", "green", "blue"}
    assert sum(shape[0] for shape, _, _ in model.seen) == 5


def test_images_are_normalised_float32_outside_any_autocast() -> None:
    model = Brightest()
    with torch.autocast("cpu", torch.bfloat16):
        evaluate(model, Colours(), CFG, 3)
    assert {(dtype, autocast) for _, dtype, autocast in model.seen} == {(torch.float32, False)}


def test_callable_gets_the_normalised_image() -> None:
    data, seen = Colours(((8, 16),)), []

    def predictor(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    evaluate(predictor, data, CFG, 3)
    assert np.array_equal(seen[0][0].numpy(), normalize(data[0].image, CFG))


def test_modes_of_all_modules_are_restored() -> None:
    model = nn.Sequential(Brightest(), nn.Dropout())
    model.train()
    inner = model[0].get_submodule("norm")
    inner.eval()
    evaluate(model, Colours(), CFG, 3)
    assert model.training and model[1].training and not inner.training


def test_logits_are_upsampled_with_aligned_corners() -> None:
    label = np.zeros((1, 9), np.uint8)
    label[:, 3:] = 1
    data = Colours(((1, 9),))
    data.samples = [Sample(np.zeros((1, 9, 3), np.uint8), label, "ramp")]
    # Class 1 wins where the interpolated value exceeds 0.3: from 3/8 on; without aligned corners, one pixel later.
    logits = torch.tensor([[[[0.3, 0.3]], [[0.0, 1.0]], [[-1.0, -1.0]]]])
    assert evaluate(lambda x: logits, data, CFG, 3).value == 100.0


def test_images_of_different_sizes_go_one_at_a_time() -> None:
    assert evaluate(Brightest(), Colours(((8, 16), (4, 4))), CFG, 3).value == 100.0


def test_label_beyond_the_classes_is_refused() -> None:
    with pytest.raises(UserError, match="label has class 2, but there are 2 classes"):
        evaluate(lambda x: x[:, :2], Colours(), CFG, 2)
