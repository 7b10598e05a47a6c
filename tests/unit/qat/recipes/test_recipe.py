"""Recipes: averaged weights, early stopping, distillation, warm-up, clipping; all of them exact on resume."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from core.config import DistillConfig, QatConfig
from core.errors import UserError
from qat.quantization.quantizers import quantizers
from qat.training.best_epoch import BestEpoch
from qat.training.distill import Distillation, distilled, soft_divergence
from qat.training.schedule import learning_rate
from qat.training.weight_average import WeightAverage
from tests.unit.qat.recipes.qat_script import SETTINGS, STEPS_PER_EPOCH, Images, Run

ROOT = Path(__file__).parents[4]
SCRIPT = Path(__file__).with_name("qat_script.py")
VARIANTS = [("calibrate", True), ("calibrate", False), ("stats_only", True), ("direct", True)]


def state(run):
    return torch.load(run.plan.weights, weights_only=True)


def records(run):
    lines = [json.loads(line) for line in run.plan.metrics.read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key != "images_per_s"} for line in lines]


def assert_same(one, other):
    ours, theirs = state(one), state(other)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        same = torch.equal(ours[name], value) if isinstance(value, torch.Tensor) else ours[name] == value
        assert same, name
    assert records(one) == records(other)


def run_in(folder, **changes):
    run = Run(folder, **changes)
    run.start()
    return run


@pytest.mark.parametrize("toolkit", ["auto", "builtin"])
@pytest.mark.parametrize(("approach", "learned"), VARIANTS)
def test_interrupted_before_any_step_it_ends_as_if_it_had_not_been(tmp_path, approach, learned, toolkit):
    settings = {"approach": approach, "learned_scales": learned, "toolkit": toolkit}
    straight = run_in(tmp_path / "straight", **settings)
    for stop_at in (1, 3, 5, 8):
        folder = tmp_path / str(stop_at)
        with pytest.raises(InterruptedError):
            Run(folder, **settings).start(stop_at=stop_at)
        torch.manual_seed(99)
        assert_same(run_in(folder, **settings), straight)


def test_a_learned_scale_is_not_initialised_again_on_resume(tmp_path):
    settings = {"ema_decay": None, "early_stop_epochs": None}
    with pytest.raises(InterruptedError):
        Run(tmp_path, **settings).start(stop_at=6)
    stored = torch.load(Run(tmp_path).plan.resume, weights_only=True)["state"]["model"]
    resumed = Run(tmp_path, **settings)
    with pytest.raises(InterruptedError):
        resumed.start(stop_at=6)  # calibrates, as every start does, and loads the checkpoint of step 6
    fresh = Run(tmp_path / "fresh", **settings)
    with pytest.raises(InterruptedError):
        fresh.start(stop_at=0)
    for name, quantizer in quantizers(resumed.model).items():
        assert torch.equal(quantizer.amax, stored[f"{name}.amax"]), name
        assert not torch.equal(quantizer.amax, quantizers(fresh.model)[name].amax), name


@pytest.mark.slow
@pytest.mark.parametrize("approach", ["calibrate", "stats_only", "direct"])
def test_killed_again_and_again_it_ends_as_if_it_had_not_been(tmp_path, approach):
    def start(folder, kill_at):
        spec = {"folder": str(folder), "qat": {"approach": approach}, "kill_at": kill_at}
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run([sys.executable, SCRIPT, json.dumps(spec)], env=environment, timeout=120).returncode

    for kill_at in (2, 5, 7):
        assert start(tmp_path / "killed", kill_at) == -signal.SIGKILL
    assert start(tmp_path / "killed", None) == start(tmp_path / "straight", None) == 0
    assert_same(Run(tmp_path / "killed", approach=approach), Run(tmp_path / "straight", approach=approach))


def test_average_follows_parameters_and_copies_buffers():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = WeightAverage(model, 0.5)
    average.adopt()
    before = model[0].weight.detach().clone()
    average.on_step_end(step=0)
    for step in range(10):  # far enough for the decay to be 0.5
        average.on_step_end(step=step)
    with torch.no_grad():
        model[0].weight += 1
        model[1].running_mean += 3
    average.on_step_end(step=100)
    with average.swapped_in():
        torch.testing.assert_close(model[0].weight, before + 0.5)
        assert model[1].running_mean.tolist() == [3, 3]
    torch.testing.assert_close(model[0].weight, before + 1)
    average.adopt()
    torch.testing.assert_close(model[0].weight, before + 0.5)


def test_average_forgets_the_start_quickly():
    model = nn.Linear(1, 1)
    average = WeightAverage(model, 0.999)
    average.on_step_end(step=0)
    start = model.weight.detach().clone()
    with torch.no_grad():
        model.weight += 1
    average.on_step_end(step=1)
    average.adopt()
    torch.testing.assert_close(model.weight, start + 1 - 2 / 11)


def test_averaged_weights_are_what_training_ends_with(tmp_path):
    plain, averaged = (run_in(tmp_path / str(decay), ema_decay=decay, early_stop_epochs=None) for decay in (None, 0.9))
    assert not torch.equal(state(plain)["stem.weight"], state(averaged)["stem.weight"])
    for layer in averaged.model.modules():
        if hasattr(layer, "weight_quantizer"):
            assert layer.weight_quantizer.is_set


def test_best_epoch_is_kept_and_patience_ends_the_training():
    model = nn.Linear(1, 1, bias=False)
    scores = iter([1.0, 3.0, 2.0, 3.0])
    best = BestEpoch(model, lambda: next(scores), patience=2)
    stopped = []
    for epoch in range(4):
        nn.init.constant_(model.weight, epoch)
        values = best.on_epoch_end(epoch)
        stopped.append(best.stopped)
    assert stopped == [False, False, False, True]
    assert values == {"tuning_score": 3.0, "best_tuning_score": 3.0}
    best.adopt()
    assert model.weight.item() == 1


def test_a_stopped_training_does_not_go_on_when_it_is_started_again(tmp_path):
    def run():
        found = Run(tmp_path, epochs=6, early_stop_epochs=1)
        found.score = lambda: 0.0
        return found

    first = run()
    first.plan.weights.mkdir(parents=True)  # simulates a death just before the weights are written
    with pytest.raises(UserError, match="cannot be written"):
        first.start()
    first.plan.weights.rmdir()
    steps = [line["step"] for line in records(first)]
    assert max(steps) == 2 * STEPS_PER_EPOCH
    run().start()
    assert [line["step"] for line in records(first)] == steps


def test_a_finished_training_is_not_done_again_when_what_follows_it_died(tmp_path):
    def run():
        found = Run(tmp_path, early_stop_epochs=None)
        found.plan = replace(found.plan, keeps_checkpoint=True)
        return found

    first = run()
    first.start()
    assert first.plan.resume.exists()
    expected = state(first)
    lines = records(first)
    first.plan.weights.unlink()
    second = run()
    second.start(stop_at=0)  # no step is begun
    assert records(second) == lines
    for name, value in expected.items():
        assert torch.equal(state(second)[name], value) if isinstance(value, torch.Tensor) else value
    assert second.plan.key(images=1, processes=1, bf16=False) == Run(tmp_path, early_stop_epochs=None).plan.key(
        images=1, processes=1, bf16=False
    )


def test_distillation_of_equal_networks_is_zero_and_grows_with_the_distance():
    logits = torch.randn(2, 5, 4, 4)
    assert soft_divergence(logits, logits, 2.0) == pytest.approx(0, abs=1e-6)
    near, far = (soft_divergence(logits + d * torch.randn(2, 5, 4, 4), logits, 1.0) for d in (0.1, 1.0))
    assert 0 < near < far


def test_divergence_is_the_definition():
    student, teacher = torch.randn(1, 3, 1, 2).double(), torch.randn(1, 3, 1, 2).double()
    p, q = (torch.softmax(logits / 2, 1) for logits in (teacher, student))
    expected = 4 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(soft_divergence(student, teacher, 2.0), expected.float(), rtol=1e-5, atol=1e-6)


def test_without_labels_masks_are_never_read(tmp_path):
    run = run_in(tmp_path, distill={"weight": 1.0, "labels": False}, early_stop_epochs=None)
    assert "main" not in records(run)[0]

    class Unlabelled(Images):
        def __getitem__(self, index):
            image, label, edge = super().__getitem__(index)
            return image, torch.full_like(label, 255), edge

    other = Run(tmp_path / "unlabelled", distill={"weight": 1.0, "labels": False}, early_stop_epochs=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.unit.qat.recipes.qat_script.Images", Unlabelled)
        other.start()
    assert_same(other, run)


def test_distillation_leaves_no_hooks_and_the_teacher_as_it_was(tmp_path):
    run = Run(tmp_path)
    before = {name: value.clone() for name, value in run.teacher.state_dict().items()}
    run.start()
    assert not any(module._forward_hooks for network in (run.model, run.teacher) for module in network.modules())
    assert all(torch.equal(run.teacher.state_dict()[name], value) for name, value in before.items())


def test_features_that_name_nothing_are_refused():
    net = nn.Sequential(nn.Conv2d(3, 3, 1))
    config = DistillConfig(weight=1.0, features=("layer9.*",))
    with pytest.raises(UserError, match="names no module"), distilled(lambda *_: {}, net, net, config):
        pass
    with pytest.raises(ValueError, match="weight"):
        DistillConfig(weight=0, labels=False)


def test_no_distillation_is_the_plain_loss():
    def loss(*_):
        return {}

    net = nn.Conv2d(3, 3, 1)
    with distilled(loss, net, net, DistillConfig(weight=0)) as found:
        assert found is loss
    with distilled(loss, net, net, DistillConfig()) as found:
        assert isinstance(found, Distillation)


def test_warm_up_rises_to_the_rate_and_the_cosine_takes_the_rest():
    rates = [learning_rate("cosine", 1.0, step, 10, warmup=3) for step in range(10)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[3:] == [learning_rate("cosine", 1.0, step, 7) for step in range(7)]


def test_clipping_bounds_the_step(tmp_path):
    settings = {"epochs": 1, "ema_decay": None, "early_stop_epochs": None, "momentum": 0.0, "warmup_steps": 0}
    start = Run(tmp_path).model.get_submodule("stem").weight.detach().clone()
    free, clipped = (run_in(tmp_path / str(norm), clip_norm=norm, **settings) for norm in (None, 1e-3))
    moved = [float((state(run)["stem.weight"] - start).norm()) for run in (free, clipped)]
    assert moved[1] <= STEPS_PER_EPOCH * SETTINGS["lr"] * 1e-3 < moved[0]


def test_default_is_the_recipe_that_measured_best():
    config = QatConfig(epochs=1)
    assert (config.approach, config.calibration.method, config.learned_scales) == ("calibrate", "mse", False)
    assert (config.distill.weight, config.distill.labels) == (1, True)
    assert config.ema_decay is config.early_stop_epochs is config.clip_norm is None
