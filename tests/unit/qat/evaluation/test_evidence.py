"""The evaluator: metric and fidelity with intervals over groups of images."""

import numpy as np
import pytest
import torch

from core.config.data import DataConfig
from qat.data import TuningSet, build_tuning
from qat.data.base import IGNORE, Sample
from qat.evaluation.evidence import Evaluator
from qat.tasks import TASKS
from qat.tasks.bootstrap import interval, mean

DATA = DataConfig(height_px=16, width_px=24, train_images=40, val_images=4)
CLASSES = 3


class Images:
    class_names, colors = ("a", "b", "c"), ((0, 0, 0),) * 3

    def __init__(self, labelled=True):
        generator = np.random.default_rng(0)
        self.images = generator.integers(0, 256, (12, 16, 24, 3)).astype(np.uint8)
        self.labelled = labelled

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = self.images[index]
        label = image.argmax(2).astype(np.uint8) if self.labelled else np.full((16, 24), IGNORE, np.uint8)
        return Sample(image, label, str(index))


GROUPS = tuple(index // 2 for index in range(12))


def network(noise, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return lambda images: 2 * images + noise * torch.randn(images.shape, generator=generator)


@pytest.fixture(scope="module")
def evaluator():
    return Evaluator(TuningSet(Images(), GROUPS), network(0.0), DATA, CLASSES, TASKS["segmentation"])


def test_fp32_agrees_with_itself_and_is_scored(evaluator):
    again = evaluator.answers(network(0.0))
    found = evaluator.score(again)
    assert (found.divergence, found.agreement) == (0.0, 100.0)
    assert found.metric > 50  # the brightest channel before normalisation is the class
    same = evaluator.compare(again, evaluator.fp32)
    assert (same.metric.low, same.metric.high, same.divergence.high) == (0.0, 0.0, 0.0)


def test_more_noise_is_worse_in_every_measure(evaluator):
    little, much = evaluator.answers(network(0.5)), evaluator.answers(network(4.0))
    found = evaluator.compare(much, little)
    assert found.metric.high < 0 < found.divergence.low
    assert found.agreement.high < 0
    back = evaluator.compare(little, much)
    assert back.metric.value == pytest.approx(-found.metric.value)


def test_without_labels_there_is_fidelity_and_no_metric():
    evaluator = Evaluator(TuningSet(Images(labelled=False), GROUPS), network(0.0), DATA, CLASSES, TASKS["segmentation"])
    found = evaluator.compare(evaluator.answers(network(1.0)), evaluator.fp32)
    assert not evaluator.labelled
    assert found.metric is None
    assert found.divergence.low > 0
    assert evaluator.score(evaluator.fp32).metric is None


def test_divergence_is_per_pixel_and_by_hand(evaluator):
    shifted = evaluator.answers(lambda images: 2 * images + torch.tensor([1.0, 0, 0])[None, :, None, None])
    image = (
        torch.from_numpy(Images().images[0].transpose(2, 0, 1)).float() / 255 - torch.tensor(DATA.mean)[:, None, None]
    )
    logits = 2 * image / torch.tensor(DATA.std)[:, None, None]
    p, q = logits.softmax(0), (logits + torch.tensor([1.0, 0, 0])[:, None, None]).softmax(0)
    assert shifted.divergence[0] == pytest.approx(float((p * (p / q).log()).sum(0).mean()), rel=1e-4)


def test_groups_that_are_alike_widen_the_interval():
    values = np.repeat(np.random.default_rng(1).normal(size=10), 8)  # ten scenes, eight equal frames each
    alone = interval(lambda weights: mean(values, weights), 80, 0)
    grouped = interval(lambda weights: mean(values, weights), 80, 0, [index // 8 for index in range(80)])
    assert grouped.value == alone.value
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_more_looks_widen_the_interval(evaluator):
    little, much = evaluator.answers(network(0.5)), evaluator.answers(network(0.6))
    one, five = (evaluator.compare(much, little, looks).metric for looks in (1, 5))
    assert five.high - five.low > one.high - one.low


def test_streets_have_groups_to_choose_by():
    assert len(set(build_tuning(DATA).groups)) >= 10
