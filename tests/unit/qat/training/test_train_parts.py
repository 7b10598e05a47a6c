"""The parts of the training loop that need no training: order of images, learning rate, plan, log, batch norm."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import qat.training.train_plan
from core.config import Config
from core.errors import UserError
from core.files.paths import RunPaths
from qat.processes.distributed import swapped_batch_norm
from qat.training.checkpointing import load_checkpoint
from qat.training.sampler import EpochBatches
from qat.training.schedule import learning_rate
from qat.training.train_log import MetricsFile, Progress
from qat.training.train_plan import TrainPlan, uses_bf16

CPU = torch.device("cpu")
CONFIG = Config.model_validate(
    {
        "run": "r",
        "model": {},
        "data": {"height_px": 64, "width_px": 64},
        "train": {"epochs": 3, "crop_height_px": 64, "crop_width_px": 64},
        "qat": {"epochs": 2},
    }
)


def test_processes_share_the_images_of_each_step_of_one_process() -> None:
    one = EpochBatches(images=26, batch_size=6, seed=3).of(epoch=1)
    three = [EpochBatches(images=26, batch_size=2, seed=3, rank=rank, processes=3).of(epoch=1) for rank in range(3)]
    assert len(one) == 4
    assert [list(chain(*parts)) for parts in zip(*three, strict=True)] == one


def test_an_epoch_has_no_image_twice_and_the_next_another_order() -> None:
    batches = EpochBatches(images=10, batch_size=5, seed=0)
    first, second = batches.of(0), batches.of(1)
    assert sorted(chain(*first)) == list(range(10))
    assert first != second
    assert first == batches.of(0)


def test_less_than_one_batch_is_refused() -> None:
    with pytest.raises(UserError, match="3 training images do not fill one step"):
        EpochBatches(images=3, batch_size=2, seed=0, processes=2)


def test_poly_schedule() -> None:
    assert learning_rate("poly", 0.1, 0, 10) == 0.1
    assert learning_rate("poly", 0.1, 5, 10) == pytest.approx(0.1 * 0.5**0.9)
    assert learning_rate("poly", 0.1, 9, 10, power=2.0) == pytest.approx(0.001)


def test_cosine_schedule() -> None:
    assert learning_rate("cosine", 0.1, 0, 10) == pytest.approx(0.1)
    assert learning_rate("cosine", 0.1, 5, 10) == pytest.approx(0.05)
    assert 0 < learning_rate("cosine", 0.1, 9, 10) < 0.005


@pytest.mark.parametrize(
    ("flags", "expected"), [({"avx512f", "amx_bf16"}, True), ({"avx512_bf16"}, True), ({"avx512_vnni"}, False)]
)
def test_auto_precision_asks_the_cpu(monkeypatch: pytest.MonkeyPatch, flags: set[str], expected: bool) -> None:
    monkeypatch.setattr(qat.training.train_plan, "cpu_flags", lambda: frozenset(flags))
    assert uses_bf16("auto", CPU) is expected
    assert uses_bf16("fp32", CPU) is False
    assert uses_bf16("bf16", CPU) is True


def test_plans_of_the_two_stages_take_their_own_section() -> None:
    fp32, qat_plan = TrainPlan.of_fp32(CONFIG, RunPaths("r")), TrainPlan.of_qat(CONFIG, RunPaths("r"))
    assert (fp32.epochs, fp32.lr, fp32.schedule) == (3, 0.01, "poly")
    assert (qat_plan.epochs, qat_plan.lr, qat_plan.schedule) == (2, 1e-4, "cosine")
    assert fp32.resume != qat_plan.resume
    assert fp32.resume.parent == fp32.weights.parent


def test_key_changes_with_what_decides_the_weights_only() -> None:
    plan = TrainPlan.of_fp32(CONFIG, RunPaths("r"))
    facts: dict[str, Any] = {"images": 10, "processes": 1, "bf16": False}
    key = plan.key(**facts)
    assert replace(plan, metrics=Path("m"), workers=0, checkpoint_every_steps=7).key(**facts) == key
    other_data = CONFIG.model_copy(update={"data": CONFIG.data.model_copy(update={"width_px": 128})})
    changed = [
        replace(plan, lr=1.0).key(**facts),
        replace(plan, seed=1).key(**facts),
        plan.key(**{**facts, "processes": 2}),
        plan.key(**{**facts, "bf16": True}),
        TrainPlan.of_fp32(other_data, RunPaths("r")).key(**facts),
    ]
    assert len({key, *changed}) == 6


def test_log_drops_lines_past_the_resumed_step_and_half_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path, "fp32", resumed_step=0)
    for step in (1, 2, 3):
        first.append({"step": step, "loss": 0.5})
    MetricsFile(path, "qat", resumed_step=0).append({"step": 9})
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"stage": "fp32", "st')
    MetricsFile(path, "fp32", resumed_step=2).append({"step": 3, "loss": 0.25})
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(line["stage"], line["step"], line.get("loss")) for line in lines] == [
        ("fp32", 1, 0.5),
        ("fp32", 2, 0.5),
        ("qat", 9, None),
        ("fp32", 3, 0.25),
    ]


def test_log_and_progress_of_other_processes_stay_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsFile(path, "fp32", resumed_step=0, enabled=False).append({"step": 1})
    Progress("fp32", 0, 1, enabled=False).report(1, 0.5)
    assert not path.exists()
    assert capsys.readouterr().err == ""


def test_swapped_batch_norm_shares_parameters_and_comes_back() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))
    original = model.get_submodule("1.0")
    with swapped_batch_norm(model):
        inner = model.get_submodule("1.0")
        assert isinstance(inner, nn.SyncBatchNorm)
        assert inner.weight is original.weight and inner.running_mean is original.running_mean
        model.eval()
    assert model.get_submodule("1.0") is original
    assert not original.training


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_starts_the_training_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fp32.resume.pt").write_bytes(content)
    assert load_checkpoint(tmp_path / "fp32.resume.pt", "key", {}) == 0
