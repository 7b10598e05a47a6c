"""The statistics pass on the residual network: its inputs and results."""

import numpy as np
import pytest
import torch
from torch import nn

from core.config import CalibrationConfig
from core.errors import UserError
from deploy.plan.histogram import merged
from deploy.plan.thresholds import amax_from
from qat.calibration.statistics import activation_quantizers, calibrate, collect, observe_range
from qat.quantization.quantizers import Mode, quantizers
from tests.nets.residual import residual_net
from tests.nets.residual_graph import quantized_residual

SHAPE = (2, 3, 32, 32)


@pytest.fixture
def model():
    return quantized_residual(SHAPE[-1])


@pytest.fixture
def images():
    torch.manual_seed(4)
    return [torch.randn(SHAPE) for _ in range(3)]


def test_histograms_are_those_of_the_float_network(model, images):
    histograms = collect(model, images)
    assert histograms.keys() == activation_quantizers(model).keys()
    assert len(histograms) == 7
    net = residual_net()
    with torch.no_grad():
        stems = torch.stack([net.stem(image) for image in images])
    assert histograms["quantizers.x"].amax == max(image.abs().max() for image in images)
    assert histograms["quantizers.stem"].amax == pytest.approx(stems.abs().max().item(), rel=1e-5)
    assert histograms["quantizers.stem"].counts.sum() == stems.numel()


def test_earlier_ranges_do_not_influence_the_statistics(model, images):
    first = collect(model, images)
    for quantizer in quantizers(model).values():
        quantizer.set_amax(quantizer.amax.nan_to_num(1.0) * 0.01, "test")
        quantizer.set_mode(Mode.QUANTIZE)
    second = collect(model, images)
    assert all(np.array_equal(first[name].counts, second[name].counts) for name in first)


def test_batching_does_not_matter(model, images):
    whole, single = collect(model, [torch.cat(images)]), collect(model, torch.cat(images).split(1))
    for name, histogram in whole.items():
        assert histogram.amax == pytest.approx(single[name].amax, rel=1e-5)
        assert histogram.counts.sum() == single[name].counts.sum()


def test_pass_leaves_no_trace(model, images):
    before = {n: v.clone() for n, v in model.state_dict().items() if isinstance(v, torch.Tensor)}
    model.train()
    collect(model, images)
    for name, value in before.items():
        assert torch.equal(model.state_dict()[name].nan_to_num(-1), value.nan_to_num(-1)), name
    assert not any(quantizer._forward_hooks for quantizer in quantizers(model).values())


def test_hooks_are_removed_after_a_failure(model):
    with pytest.raises(UserError, match=r"quantizers\.x is NaN or infinity"):
        collect(model, [torch.full(SHAPE, float("nan"))])
    assert not any(quantizer._forward_hooks for quantizer in quantizers(model).values())


@pytest.mark.parametrize("method", ["max", "percentile", "entropy", "mse"])
def test_calibration_takes_the_threshold_of_each_tensor(model, images, method):
    weights = {name: q.amax.clone() for name, q in quantizers(model).items() if q.axis is not None}
    histograms = collect(model, images)
    calibrate(model, histograms, CalibrationConfig(method=method, percentile=99.0))
    for name, quantizer in activation_quantizers(model).items():
        assert quantizer.amax.item() == pytest.approx(amax_from(histograms[name], method, 99.0))
        assert quantizer.origin == f"histogram-{method}"
    for name, amax in weights.items():
        assert torch.equal(quantizers(model)[name].amax, amax)


def test_observed_range_is_the_largest_magnitude(model, images):
    histograms = collect(model, images)
    observe_range(model, histograms)
    for name, quantizer in activation_quantizers(model).items():
        assert quantizer.amax.item() == pytest.approx(histograms[name].amax)
        assert quantizer.origin == "observed-range"


def test_tensor_that_is_always_zero_still_gets_a_positive_range(model):
    nn.init.zeros_(model.get_submodule("stem").weight)
    nn.init.zeros_(model.get_submodule("stem").bias)
    histograms = collect(model, [torch.ones(SHAPE)])
    calibrate(model, histograms, CalibrationConfig())
    assert histograms["quantizers.stem"].amax == 0.0
    assert all(quantizer.is_set for quantizer in quantizers(model).values())


def test_processes_share_the_batches_and_merge_what_they_counted(model, images, monkeypatch):
    alone = collect(model, images)
    monkeypatch.setattr("qat.calibration.statistics.world_size", lambda: 2)
    parts = []
    for process in (0, 1):
        monkeypatch.setattr("qat.calibration.statistics.rank", lambda process=process: process)
        parts.append(collect(model, images))
    for name, histogram in alone.items():
        shares = [part[name] for part in parts]
        assert all(0 < share.counts.sum() < histogram.counts.sum() for share in shares)
        both = merged(shares)
        assert (both.counts == histogram.counts).all() and both.amax == histogram.amax
