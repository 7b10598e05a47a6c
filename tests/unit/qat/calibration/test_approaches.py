"""The three approaches: data read before training, changes during training, and the final state."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from core.config import QatConfig, TrainConfig
from core.console import console
from core.errors import UserError
from qat.calibration.approaches import finish, prepare
from qat.calibration.statistics import activation_quantizers
from qat.quantization.quantizers import Mode, magnitude, quantizers
from qat.quantization.toolkits import first_importable, quantizer_class
from qat.training.pidnet_loss import PIDNetLoss
from qat.training.train import fit
from qat.training.train_plan import TrainPlan
from tests.nets.residual_graph import quantized_residual

STEPS_PER_EPOCH = 3
OBSERVE_STEPS = 2


class Images(torch.utils.data.Dataset):
    """Six images of the residual network's five classes; later epochs have larger values."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(10 * self.epoch + index)
        image = (2 + self.epoch) * torch.randn(3, 16, 16, generator=generator)
        return image, (image[0].abs() * 2).long().clamp_max(4), torch.zeros(16, 16)


class Calibration:
    """Batches that count how often they are read."""

    def __init__(self) -> None:
        self.reads = 0

    def __iter__(self):
        for index in range(4):
            self.reads += 1
            yield Images(0)[index][0].unsqueeze(0)


class Watch:
    """The approach's own hooks; they also record every range, and the mode of the model, before each step."""

    def __init__(self, model, hooks) -> None:
        self.model, self.hooks = model, hooks
        self.amax, self.modes = [], []

    def on_step_start(self, step, epoch):
        self.amax.append(ranges(self.model))
        self.hooks.on_step_start(step, epoch)
        self.modes.append({quantizer.mode for quantizer in activation_quantizers(self.model).values()})

    def __getattr__(self, name):
        return getattr(self.hooks, name)


def ranges(model):
    return {name: quantizer.amax.detach().clone() for name, quantizer in activation_quantizers(model).items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def all_differ(one, other):
    return not any(torch.equal(one[name], other[name]) for name in one)


def statistics(model):
    return [buffer.clone() for name, buffer in model.named_buffers() if "running" in name or "tracked" in name]


class Outcome:
    """One approach from insertion to `finish`, with all observations."""

    def __init__(self, folder: Path, **settings) -> None:
        config = QatConfig(**{"epochs": 2, "observe_steps": OBSERVE_STEPS, "learned_scales": False, **settings})
        self.model = quantized_residual(16, quantizer_class(first_importable()[0]))
        before = statistics(self.model)
        weight = self.model.get_submodule("head").weight.detach().clone()
        calibration = Calibration()
        hooks = prepare(self.model, config, calibration)
        self.reads = calibration.reads
        self.prepared = ranges(self.model)
        watch = Watch(self.model, hooks)
        loss = PIDNetLoss(TrainConfig(epochs=1, crop_height_px=16, crop_width_px=16))
        fit(self.model, Images, loss, plan(folder, config.epochs), watch)
        self.trained = ranges(self.model)
        finish(self.model)
        self.before_step = [*watch.amax, self.trained]
        self.modes = watch.modes
        self.weights_moved = not torch.equal(weight, self.model.get_submodule("head").weight)
        self.statistics_moved = any(not torch.equal(a, b) for a, b in zip(before, statistics(self.model), strict=True))

    def origins(self):
        found = {"activations": set(), "weights": set()}
        for quantizer in quantizers(self.model).values():
            found["activations" if quantizer.axis is None else "weights"].add(quantizer.origin)
        return found


def plan(folder, epochs):
    return TrainPlan(
        stage="qat",
        epochs=epochs,
        batch_size=2,
        lr=0.01,
        momentum=0.9,
        weight_decay=0.0,
        weights=folder / "qat.pt",
        metrics=folder / "metrics.jsonl",
        schedule="cosine",
        precision="fp32",
    )


def moved(outcome):
    """For each step, True if any range changed in it."""
    return [not same(a, b) for a, b in pairwise(outcome.before_step)]


def test_calibrate_reads_once_and_keeps_its_ranges(tmp_path):
    found = Outcome(tmp_path, approach="calibrate")
    assert found.reads == 4
    assert found.modes == [{Mode.QUANTIZE}] * 2 * STEPS_PER_EPOCH
    assert same(found.prepared, found.before_step[0])
    assert moved(found) == [False] * 2 * STEPS_PER_EPOCH
    assert found.origins() == {"activations": {"histogram-mse"}, "weights": {"max"}}


def test_stats_only_starts_from_the_observed_range_and_follows_until_the_last_epochs(tmp_path):
    found = Outcome(tmp_path, approach="stats_only", freeze_last_epochs=1)
    assert found.reads == 4
    largest = max(float(Images(0)[index][0].abs().max()) for index in range(4))
    assert found.prepared["quantizers.x"].item() == pytest.approx(largest)
    assert found.modes == [{Mode.TRACK}] * STEPS_PER_EPOCH + [{Mode.QUANTIZE}] * STEPS_PER_EPOCH
    assert moved(found) == [True] * STEPS_PER_EPOCH + [False] * STEPS_PER_EPOCH
    assert all_differ(found.prepared, found.trained)
    assert found.origins() == {"activations": {"ema"}, "weights": {"max"}}


def test_stats_only_freezes_for_a_part_of_an_epoch(tmp_path):
    found = Outcome(tmp_path, approach="stats_only", epochs=1)
    assert QatConfig(epochs=1).freeze_last_epochs == 0.5
    assert found.modes == [{Mode.TRACK}] * 2 + [{Mode.QUANTIZE}]
    assert found.origins()["activations"] == {"ema"}


@pytest.mark.parametrize("epochs", [1, 2])
def test_stats_only_that_would_never_follow_a_range_is_refused(epochs):
    with pytest.raises(ValueError, match="never follow a range"):
        QatConfig(approach="stats_only", epochs=epochs, freeze_last_epochs=2)
    QatConfig(approach="stats_only", epochs=0, freeze_last_epochs=2)
    QatConfig(approach="calibrate", epochs=epochs, freeze_last_epochs=2)


def test_calibration_clips_where_the_observed_range_does_not(tmp_path):
    clipped = Outcome(tmp_path, approach="calibrate", epochs=0).prepared
    observed = Outcome(tmp_path, approach="stats_only", epochs=0).prepared
    assert all(clipped[name] <= observed[name] for name in clipped)
    assert any(clipped[name] < 0.99 * observed[name] for name in clipped)


def test_direct_reads_nothing_then_tracks_then_learns(tmp_path):
    found = Outcome(tmp_path, approach="direct")
    assert found.reads == 0
    assert all(amax.isnan() for amax in found.prepared.values())
    assert found.modes == [{Mode.TRACK}] * OBSERVE_STEPS + [{Mode.LEARN}] * (2 * STEPS_PER_EPOCH - OBSERVE_STEPS)
    assert moved(found) == [True] * 2 * STEPS_PER_EPOCH
    assert all_differ(found.before_step[OBSERVE_STEPS], found.trained), "every scale learns"
    assert found.origins() == {"activations": {"learned"}, "weights": {"learned"}}


def test_direct_that_never_leaves_observation_ends_with_the_average(tmp_path):
    with console.capture() as captured:
        found = Outcome(tmp_path, approach="direct", observe_steps=100)
    assert found.origins() == {"activations": {"ema"}, "weights": {"max"}}
    assert "no scale is learned, as there are only 6 steps" in captured.get()


@pytest.mark.parametrize(("observe_steps", "warned"), [(5, False), (6, True)])
def test_direct_warns_only_if_nothing_is_learned(tmp_path, observe_steps, warned):
    with console.capture() as captured:
        found = Outcome(tmp_path, approach="direct", observe_steps=observe_steps)
    assert ("no scale is learned" in captured.get()) is warned
    assert found.origins()["activations"] == {"ema" if warned else "learned"}


@pytest.mark.parametrize("approach", ["calibrate", "stats_only"])
def test_scales_are_learned_on_request(tmp_path, approach):
    found = Outcome(tmp_path, approach=approach, learned_scales=True, freeze_last_epochs=1)
    learning = 2 * STEPS_PER_EPOCH if approach == "calibrate" else STEPS_PER_EPOCH
    assert found.modes[-learning:] == [{Mode.LEARN}] * learning
    assert moved(found)[-learning:] == [True] * learning
    assert found.origins() == {"activations": {"learned"}, "weights": {"learned"}}


@pytest.mark.parametrize("approach", ["calibrate", "stats_only", "direct"])
@pytest.mark.parametrize("learned", [True, False])
def test_every_approach_trains_and_ends_ready_for_export(tmp_path, approach, learned):
    found = Outcome(tmp_path, approach=approach, learned_scales=learned)
    assert found.weights_moved
    assert not found.statistics_moved
    for name, quantizer in quantizers(found.model).items():
        assert quantizer.is_set, name
        assert quantizer.mode is Mode.QUANTIZE
        assert not quantizer.amax.requires_grad
    with torch.no_grad():
        assert found.model(torch.randn(1, 3, 16, 16)).isfinite().all()


def test_weights_that_are_not_learned_end_with_the_exact_range_of_their_channels(tmp_path):
    model = Outcome(tmp_path, approach="calibrate").model
    layers = [layer for layer in model.modules() if hasattr(layer, "weight_quantizer")]
    assert len(layers) == 6
    for layer in layers:
        assert torch.equal(layer.weight_quantizer.amax, magnitude(layer.weight, 0))


@pytest.mark.parametrize(("approach", "origin"), [("calibrate", "histogram-mse"), ("stats_only", "observed-range")])
def test_without_epochs_it_is_post_training_quantization(tmp_path, approach, origin):
    found = Outcome(tmp_path, approach=approach, epochs=0)
    assert not found.weights_moved
    assert found.origins() == {"activations": {origin}, "weights": {"max"}}


def test_direct_without_epochs_is_refused(tmp_path):
    with pytest.raises(UserError, match="direct needs training"):
        Outcome(tmp_path, approach="direct", epochs=0)


def test_batch_norm_normalises_by_its_running_statistics_from_the_first_step(tmp_path):
    model = quantized_residual(16)
    hooks = prepare(model, QatConfig(epochs=1), Calibration())
    model.train()
    hooks.on_step_start(0, 0)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 5
    assert not any(norm.training for norm in norms)
    assert model.training


def test_batch_norm_statistics_move_for_the_first_steps_on_request(tmp_path):
    assert Outcome(tmp_path, approach="calibrate", batch_norm_steps=1).statistics_moved
    model = quantized_residual(16)
    hooks = prepare(model, QatConfig(epochs=1, batch_norm_steps=2), Calibration())
    training = []
    for step in range(4):
        model.train()
        hooks.on_step_start(step, 0)
        training.append({module.training for module in model.modules() if isinstance(module, nn.BatchNorm2d)})
    assert training == [{True}, {True}, {False}, {False}]
