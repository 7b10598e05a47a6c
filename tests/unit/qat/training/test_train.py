"""The training loop: its steps, and an interrupted run, which ends with the weights of an uninterrupted one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.errors import UserError
from qat.quantization.quantizers import weight_quantizer
from qat.training.hooks import NoHooks
from qat.training.train import fit
from qat.training.train_plan import TrainPlan
from tests.unit.qat.training.train_script import Noise, make_loss, make_model, make_plan

ROOT = Path(__file__).parents[4]
SCRIPT = Path(__file__).with_name("train_script.py")


class Interruption(Exception):
    """An interruption of a run."""


class Counting(NoHooks):
    """Counts its calls, thaws the stem at step 7 and raises before `stop_at`."""

    def __init__(self, model: nn.Module, stop_at: int | None = None) -> None:
        self.model, self.stop_at = model, stop_at
        self.steps: list[tuple[int, int]] = []
        self.epochs = 0

    def on_step_start(self, step: int, epoch: int) -> None:
        assert self.model.training
        if step == self.stop_at:
            raise Interruption
        self.steps.append((step, epoch))
        self.model.get_submodule("stem").requires_grad_(step >= 7)

    def on_epoch_end(self, epoch: int) -> Mapping[str, float]:
        self.model.eval()
        self.epochs += 1
        return {"epochs_seen": self.epochs}

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state: Any, /) -> None:
        self.epochs = state["epochs"]


def train(plan: TrainPlan, stop_at: int | None = None) -> Counting:
    model = make_model()
    hooks = Counting(model, stop_at)
    fit(model, Noise, make_loss(), plan, hooks)
    return hooks


def weights(plan: TrainPlan) -> dict[str, Tensor]:
    loaded: dict[str, Tensor] = torch.load(plan.weights, weights_only=True)
    return loaded


def records(plan: TrainPlan) -> list[dict[str, Any]]:
    """Metrics without the one value that depends on the clock."""
    lines = [json.loads(line) for line in plan.metrics.read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key != "images_per_s"} for line in lines]


def assert_same_run(plan: TrainPlan, reference: TrainPlan) -> None:
    ours, theirs = weights(plan), weights(reference)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert records(plan) == records(reference)
    assert not plan.resume.exists()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> TrainPlan:
    """The plan of an uninterrupted run."""
    plan = make_plan(tmp_path_factory.mktemp("uninterrupted"))
    train(plan)
    return plan


def test_hooks_see_every_step_and_epoch(tmp_path: Path) -> None:
    hooks = train(make_plan(tmp_path))
    assert hooks.steps == [(step, step // 6) for step in range(12)]
    assert hooks.epochs == 2


def test_metrics_have_a_line_per_step_and_the_hooks_own(uninterrupted: TrainPlan) -> None:
    lines = records(uninterrupted)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10, 11, 12, 12]
    assert {"stage", "step", "epoch", "lr", "loss", "main"} <= lines[0].keys()
    assert lines[0]["lr"] == uninterrupted.lr
    assert lines[-1] == {"stage": "fp32", "step": 12, "epoch": 1, "epochs_seen": 2}


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, epochs=8)
    fit(make_model(), Noise, make_loss(), plan)
    main = [line["main"] for line in records(plan)]
    assert sum(main[-6:]) < 0.9 * sum(main[:6])


def test_parameters_thawed_by_a_hook_start_to_train_then(tmp_path: Path) -> None:
    plan, initial = make_plan(tmp_path, epochs=1), make_model().state_dict()
    train(plan)
    assert torch.equal(weights(plan)["stem.0.weight"], initial["stem.0.weight"])
    train(make_plan(tmp_path))
    assert not torch.equal(weights(plan)["stem.0.weight"], initial["stem.0.weight"])


# Checkpoints are written after steps 4, 6 (end of the epoch), 8 and 12.
@pytest.mark.parametrize("stop_at", [2, 4, 5, 6, 9, 11])
def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, uninterrupted: TrainPlan, stop_at: int) -> None:
    plan = make_plan(tmp_path)
    with pytest.raises(Interruption):
        train(plan, stop_at)
    torch.manual_seed(99)  # a new process would not have the old one's generator either
    resumed = train(plan)
    assert resumed.steps[0][0] == max(step for step in (0, 4, 6, 8) if step <= stop_at)
    assert_same_run(plan, uninterrupted)


def test_loading_in_a_worker_changes_nothing(tmp_path: Path, uninterrupted: TrainPlan) -> None:
    plan = make_plan(tmp_path, workers=1)
    train(plan)
    assert_same_run(plan, uninterrupted)


def test_checkpoint_of_another_plan_is_not_resumed(tmp_path: Path, uninterrupted: TrainPlan) -> None:
    with pytest.raises(Interruption):
        train(make_plan(tmp_path, lr=0.01), stop_at=9)
    assert train(make_plan(tmp_path)).steps[0] == (0, 0)
    assert_same_run(make_plan(tmp_path), uninterrupted)


def test_unreadable_checkpoint_starts_over(tmp_path: Path, uninterrupted: TrainPlan) -> None:
    plan = make_plan(tmp_path)
    plan.resume.write_bytes(b"PK not a checkpoint")
    train(plan)
    assert_same_run(plan, uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", [3, 9])
def test_run_resumes_after_sigkill(tmp_path: Path, kill_at: int) -> None:
    def start(folder: Path, kill: int | None) -> int:
        spec: dict[str, Any] = {"folder": str(folder), "plan": {}, "kill_at": kill, "exact_over_processes": False}
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run([sys.executable, SCRIPT, json.dumps(spec)], env=environment, timeout=120).returncode

    killed, straight = tmp_path / "killed", tmp_path / "straight"
    assert start(killed, kill_at) == -signal.SIGKILL
    assert not make_plan(killed).weights.exists()
    assert start(killed, None) == 0
    assert start(straight, None) == 0
    assert_same_run(make_plan(killed), make_plan(straight))


def test_lines_of_other_stages_are_kept(tmp_path: Path) -> None:
    train(make_plan(tmp_path, stage="fp32", epochs=1))
    train(make_plan(tmp_path, stage="qat", epochs=1))
    assert [line["stage"] for line in records(make_plan(tmp_path))] == ["fp32"] * 7 + ["qat"] * 7


def test_no_epochs_writes_the_weights_as_they_are(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, epochs=0)
    fit(make_model(), Noise, make_loss(), plan)
    initial = make_model().state_dict()
    assert all(torch.equal(value, initial[name]) for name, value in weights(plan).items())


def test_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    def broken(outputs: Any, label: Tensor, edge: Tensor) -> dict[str, Tensor]:
        return {"loss": outputs[1].sum() * float("nan")}

    with pytest.raises(UserError, match="loss of step 1 is not finite"):
        fit(make_model(), Noise, broken, make_plan(tmp_path))


def test_bf16_trains_float32_weights(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, precision="bf16", epochs=8)
    model = make_model()
    fit(model, Noise, make_loss(), plan)
    main = [line["main"] for line in records(plan)]
    assert sum(main[-6:]) < 0.9 * sum(main[:6])
    assert all(value.dtype == torch.float32 and value.is_contiguous() for value in model.parameters())


def test_scales_of_quantizers_do_not_decay(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.quantizer = weight_quantizer(self.conv.weight, axis=0)
            self.quantizer.amax.requires_grad_()

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) + 0 * self.quantizer.amax.sum()

    def constant(outputs: Any, label: Tensor, edge: Tensor) -> dict[str, Tensor]:
        return {"loss": 0 * outputs.sum()}

    model = Scaled()
    conv, amax = model.conv.weight.detach().clone(), model.quantizer.amax.detach().clone()
    fit(model, Noise, constant, make_plan(tmp_path, weight_decay=0.1))
    assert torch.equal(model.quantizer.amax, amax)
    assert (model.conv.weight.abs() < conv.abs()).all()
