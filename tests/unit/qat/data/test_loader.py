"""Training samples as tensors: exact on resume, the same in every process."""

from __future__ import annotations

import multiprocessing
import os

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from core.config import Config, DataConfig, ModelConfig, QatConfig, TrainConfig
from qat.data import IGNORE, Sample, build_dataset, normalize
from qat.data.loader import TrainingBatches
from qat.data.opencv_threads import one_opencv_thread

DATA = DataConfig(height_px=48, width_px=64, train_images=4)
TRAIN = TrainConfig(epochs=1, crop_height_px=40, crop_width_px=56)


def epoch(number: int, seed: int = 0, **kwargs) -> TrainingBatches:
    return TrainingBatches(build_dataset(DATA, "train"), DATA, TRAIN, seed=seed, epoch=number, **kwargs)


def test_shapes_and_types() -> None:
    image, label, edges = epoch(0)[0]
    assert (image.shape, image.dtype) == ((3, 40, 56), torch.float32)
    assert (label.shape, label.dtype) == ((40, 56), torch.int64)
    assert (edges.shape, edges.dtype) == ((40, 56), torch.float32)
    assert set(edges.unique().tolist()) == {0.0, 1.0}


def test_a_sample_is_the_same_in_any_order_and_in_worker_processes() -> None:
    backwards = epoch(2)
    expected = [backwards[index] for index in (3, 2, 1, 0)][::-1]
    loader = DataLoader(epoch(2), batch_size=1, num_workers=2, multiprocessing_context="fork")
    for want, got in zip(expected, loader, strict=True):
        for one, other in zip(want, got, strict=True):
            assert torch.equal(one, other[0])


@pytest.mark.parametrize("other", [{"number": 1}, {"number": 0, "seed": 1}])
def test_epochs_and_seeds_augment_differently(other: dict[str, int]) -> None:
    assert not torch.equal(epoch(0)[0][0], epoch(**other)[0][0])


def test_padding_is_zero_after_normalisation_and_has_no_edge() -> None:
    image, label, edges = epoch(0, scale_range=(0.5, 0.5))[0]
    assert (label[24:] == IGNORE).all(), "the scaled image is 24 rows high"
    assert image[:, 24:].abs().max() < 0.02
    assert edges[24:].sum() == 0, "the border of the padding is not a change of class"


def test_augmenting_leaves_the_cached_sample_alone() -> None:
    dataset = build_dataset(DATA, "train")
    before = Sample(dataset[0].image.copy(), dataset[0].label.copy(), "copy")
    TrainingBatches(dataset, DATA, TRAIN, seed=0, epoch=0)[0]
    np.testing.assert_array_equal(dataset[0].image, before.image)
    np.testing.assert_array_equal(dataset[0].label, before.label)


def test_normalize() -> None:
    image = np.array([[(0, 128, 255)]], np.uint8)
    out = normalize(image, DATA)
    assert (out.shape, out.dtype) == ((3, 1, 1), np.float32)
    expected = (np.array([0, 128, 255]) / 255 - np.array(DATA.mean)) / np.array(DATA.std)
    np.testing.assert_allclose(out.ravel(), expected, rtol=1e-5, atol=1e-6)


def test_the_two_trainings_differ_in_scale_only() -> None:
    model, qat = ModelConfig(), QatConfig(epochs=1, scale_min=0.5, scale_max=0.5)
    config = Config(run="r", seed=7, model=model, data=DATA, train=TRAIN, qat=qat)
    dataset = build_dataset(DATA, "train", seed=7)
    fp32, quantized = TrainingBatches.of_fp32(dataset, config), TrainingBatches.of_qat(dataset, config)
    assert torch.equal(fp32(1)[0][0], TrainingBatches(dataset, DATA, TRAIN, seed=7, epoch=1)[0][0])
    assert not torch.equal(fp32(0)[0][0], fp32(1)[0][0])
    assert (quantized(0)[0][1][24:] == IGNORE).all(), "at half scale the image is 24 rows high"


def halve(picture: np.ndarray) -> None:
    """A worker's task that sets the number of OpenCV's threads."""
    cv2.setNumThreads(1)
    cv2.resize(picture, (500, 500))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked on POSIX systems only")
def test_a_forked_worker_may_set_opencv_threads_after_its_parent_used_them() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        picture = np.zeros((1000, 1000, 3), np.float32)
        cv2.resize(picture, (1700, 1700))  # starts OpenCV's threads
        with one_opencv_thread():
            worker = multiprocessing.get_context("fork").Process(target=halve, args=(picture,))
            worker.start()
            worker.join(timeout=20)
            worker.kill()
        assert worker.exitcode == 0 and cv2.getNumThreads() == 4
    finally:
        cv2.setNumThreads(before)
