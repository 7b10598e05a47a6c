"""Sizes of networks, against numbers worked out by hand and PIDNet's published ones."""

import torch
from torch import nn

from qat.evaluation.summary import Summary, summarize
from qat.models.pidnet import SIZES, PIDNet


def test_tiny_network_by_hand():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),  # 8 × 3·3·3 weights + 8 biases; 16 × 32 outputs of 216 MACs
        nn.BatchNorm2d(8),  # 16 parameters, not counted as MACs
        nn.ReLU(),
        nn.Conv2d(8, 8, 1, groups=4, bias=False),  # 8 × 2 weights; 16 × 32 outputs of 16 MACs
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),  # 45 parameters, 40 MACs
    )
    found = summarize(model, 32, 64)
    assert found == Summary(
        input="32×64", parameters=224 + 16 + 16 + 45, gmacs=(16 * 32 * (216 + 16) + 40) / 1e9, convs=2
    )


def test_measuring_changes_no_weight_and_no_statistic():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    summarize(model, 8, 8)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_pidnet_s_has_its_published_cost():
    found = summarize(PIDNet(SIZES["pidnet_s"], 19, augment=False), 1024, 2048)
    assert (found.parameters, found.convs) == (7_625_715, 75)
    assert round(found.gmacs, 1) == 47.2
