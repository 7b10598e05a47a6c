"""Calibrators: by config and by pattern, for activations and weights, alone and in two processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.config import CalibrationConfig, QatConfig
from core.errors import UserError
from deploy.plan.histogram import Histogram, merged
from deploy.plan.thresholds import amax_from
from qat.calibration.approaches import finish, prepare
from qat.calibration.calibrators import calibrate_weights, calibrator_of, least_squares_amax
from qat.calibration.statistics import activation_quantizers, calibrate, collect
from qat.quantization.quantizer_names import names_of, quantized_weights
from qat.quantization.quantizers import Mode, magnitude, quantizers
from tests.nets.residual_graph import quantized_residual
from tests.unit.qat.calibration import calibrate_script

ROOT = Path(__file__).parents[4]
SCRIPT = Path(__file__).with_name("calibrate_script.py")


@pytest.fixture
def model():
    traced = quantized_residual(32)
    return traced


def images():
    torch.manual_seed(4)
    return [torch.randn(1, 3, 32, 32) for _ in range(3)]


def histogram(*batches):
    found = Histogram()
    for batch in batches:
        found.update(torch.tensor(batch))
    return found


def config(*overrides, **settings):
    return CalibrationConfig.model_validate({"overrides": overrides, **settings})


def test_moving_average_takes_the_peaks_in_order():
    found = histogram([1.0, -4.0], [8.0], [0.0, 2.0])
    assert amax_from(found, "moving_average", momentum=0.75) == 0.75 * (0.75 * 4 + 0.25 * 8) + 0.25 * 2
    assert amax_from(histogram([3.0]), "moving_average") == 3.0


def test_merged_peaks_are_in_the_order_of_the_batches():
    whole = histogram([1.0], [2.0], [3.0], [4.0], [5.0])
    shares = [histogram([1.0], [3.0], [5.0]), histogram([2.0], [4.0])]
    assert merged(shares).peaks == whole.peaks == [1, 2, 3, 4, 5]


def test_a_pattern_means_what_a_layer_reads_and_makes(model):
    conv = next(path for path in quantizers(model) if path.endswith("weight_quantizer"))
    layer = conv.removesuffix(".weight_quantizer")
    named = [path for path, names in names_of(model).items() if layer in names]
    assert conv in named
    assert len(named) >= 2, "its input, too"


def test_every_field_comes_from_the_last_override_that_names_the_quantizer(model):
    found = calibrator_of(
        model,
        config(
            {"match": "*", "method": "percentile", "percentile": 90.0},
            {"match": "quantizers.x", "percentile": 50.0},
            {"match": "stem", "weights": "mse"},
            method="max",
        ),
    )
    assert (found["quantizers.x"].method, found["quantizers.x"].percentile) == ("percentile", 50.0)
    assert found["stem.weight_quantizer"].weights == "mse"
    others = {path: one for path, one in found.items() if "stem" not in names_of(model)[path]}
    assert {one.weights for one in others.values()} == {"max"}
    assert {one.percentile for path, one in others.items() if path != "quantizers.x"} == {90.0}


def test_override_sets_the_range_of_its_tensor_only(model):
    histograms = collect(model, images())
    calibrate(model, histograms, config({"match": "quantizers.x", "method": "percentile", "percentile": 60.0}))
    for name, quantizer in activation_quantizers(model).items():
        method = "percentile" if name == "quantizers.x" else "mse"
        assert quantizer.amax.item() == pytest.approx(amax_from(histograms[name], method, 60.0))
        assert quantizer.origin == f"histogram-{method}"


def test_origin_of_a_moving_average(model):
    calibrate(model, collect(model, images()), config(method="moving_average"))
    assert {quantizer.origin for quantizer in activation_quantizers(model).values()} == {"moving-average"}


def test_override_that_names_nothing_is_refused(model):
    with pytest.raises(UserError, match=r"layer9\.\* names no quantizer"):
        calibrator_of(model, config({"match": "layer9.*", "method": "max"}))


@pytest.mark.parametrize("axis", [0, 1])
def test_least_squares_range_is_the_best_of_all_clips(axis):
    torch.manual_seed(0)
    weight = torch.distributions.StudentT(3.0).sample((4, 6, 3, 3))
    found = least_squares_amax(weight, axis)

    def error(row, amax):
        step = amax / 127
        return float(((row / step).round().clamp(-127, 127) * step - row).square().sum())

    for row, amax in zip(weight.movedim(axis, 0), found, strict=True):
        largest = float(row.abs().max())
        best = min(error(row, largest * clip / 100) for clip in range(40, 101))
        assert error(row, float(amax)) == pytest.approx(best, rel=1e-4)


def test_least_squares_clips_heavy_tails_and_keeps_uniform_weights():
    torch.manual_seed(0)
    heavy, flat = torch.distributions.StudentT(3.0).sample((2, 4096)), torch.rand(2, 4096)
    assert (least_squares_amax(heavy, 0) < magnitude(heavy, 0)).all()
    assert (least_squares_amax(flat, 0) > 0.98 * magnitude(flat, 0)).all()


def test_weights_of_zero_get_a_range(model):
    torch.nn.init.zeros_(model.get_submodule("stem").weight)
    calibrate_weights(model, config(weights="mse"))
    assert all(quantizers(model)[path].is_set for path in quantized_weights(model))


@pytest.mark.parametrize("approach", ["calibrate", "stats_only", "direct"])
def test_calibrated_weights_stay_and_others_follow(model, approach):
    settings = QatConfig(
        approach=approach, epochs=1, calibration=config({"match": "stem", "weights": "mse"}), observe_steps=5
    )
    hooks = prepare(model, settings, images())
    hooks.on_training_start(4)
    model.train()
    hooks.on_step_start(0, 0)
    stem = model.get_submodule("stem")
    own = stem.weight_quantizer
    others = [quantizer for path, quantizer in quantizers(model).items() if quantizer.axis == 0 and "stem" not in path]
    clipped = own.amax.clone()
    assert (own.origin, own.mode) == ("mse", Mode.QUANTIZE)
    assert {(quantizer.origin, quantizer.mode) for quantizer in others} == {("max", Mode.TRACK)}
    with torch.no_grad():
        for weight in quantized_weights(model).values():
            weight *= 2
        model(images()[0])
    finish(model)
    assert torch.equal(own.amax, clipped)
    for path, weight in quantized_weights(model).items():
        if path != "stem.weight_quantizer":
            assert torch.equal(quantizers(model)[path].amax, magnitude(weight, 0))


@pytest.mark.slow
def test_two_processes_find_the_ranges_of_one(tmp_path):
    target = tmp_path / "two.json"
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(SCRIPT), str(target)]
    finished = subprocess.run(command, env=environment, timeout=180, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(target.read_text(encoding="utf-8")) == calibrate_script.ranges()
