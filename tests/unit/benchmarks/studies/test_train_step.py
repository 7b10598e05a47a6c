import mmap
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import train_step
from benchmarks.studies import training_step, training_variants
from benchmarks.studies.training_variants import FLOAT, MODELOPT, NAMES, OURS, Settings, variant
from core.config import load_config
from tests.nets.residual import residual_net

ROOT = Path(__file__).parents[4]


@pytest.fixture
def settings(monkeypatch):
    monkeypatch.setattr(training_variants, "build_model", lambda *_, **__: residual_net())
    config = load_config(ROOT / "configs/pidnet_s_camvid.yaml", ["model.num_classes=5"])
    return Settings(config, batch=2, height_px=32, width_px=32, precision="fp32")


def test_variants_take_turns_and_warm_up_does_not_count():
    calls = []
    steps = {name: lambda number, name=name: calls.append((name, number)) for name in "ab"}
    found = training_step.time_in_turns(steps, rounds=3, clock_s=iter(range(100)).__next__)
    assert calls == [(name, number) for number in range(training_step.WARMUP_STEPS + 3) for name in "ab"]
    assert {name: samples.tolist() for name, samples in found.items()} == {"a": 3 * [[1000.0]], "b": 3 * [[1000.0]]}


@pytest.mark.parametrize("name", [FLOAT, *OURS])
def test_a_variant_trains(name, settings, monkeypatch):
    seen = []
    real = training_variants.Stepper

    def stepper(model, *rest):
        seen.append(model)
        return real(model, *rest)

    monkeypatch.setattr(training_variants, "Stepper", stepper)
    step = variant(name, settings)
    before = {key: value.clone() for key, value in seen[0].named_parameters()}
    step(0)
    step(1)
    moved = {key for key, value in seen[0].named_parameters() if not torch.equal(value, before[key])}
    assert {"stem.weight", "head.weight"} <= moved
    activations = {key for key in moved if "quantizer" in key and "weight_quantizer" not in key}
    assert bool(activations) == (name in ("tracked ranges", "learned scales"))
    assert not any(module.training for module in seen[0].modules() if isinstance(module, torch.nn.BatchNorm2d))


def test_rows_compare_with_float_and_say_what_is_missing(monkeypatch):
    monkeypatch.setattr(training_variants, "find_spec", lambda _: None)
    samples = {FLOAT: np.full((4, 1), 10.0), "fixed scales": np.full((4, 1), 12.0)}
    memory = {FLOAT: 100.0, "fixed scales": 130.0}
    rows = {name: training_step.cost_of(name, "fp32", samples, memory) for name in (*samples, MODELOPT)}
    assert rows[FLOAT].time_ratio is None and rows[FLOAT].memory_ratio is None
    assert rows["fixed scales"].time_ratio.value == pytest.approx(1.2)
    assert rows["fixed scales"].memory_ratio == pytest.approx(1.3)
    assert rows[MODELOPT].median_ms is None and "not installed" in rows[MODELOPT].reason


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux' /proc")
def test_memory_is_the_peak_of_the_steps():
    def nothing(_):
        pass

    def freed_at_once(_):
        with mmap.mmap(-1, 128 * 2**20) as block:  # pages of its own: the allocator may reuse freed ones
            for page in range(0, len(block), mmap.PAGESIZE):
                block[page] = 1

    assert training_step.memory_mib(nothing, torch.device("cpu")) < 16
    assert training_step.memory_mib(freed_at_once, torch.device("cpu")) > 120


def test_names_on_the_command_line_are_the_variants():
    arguments = train_step.parser().parse_args(["--only", *NAMES, "--crop", "64x96", "--precision", "fp32", "bf16"])
    assert arguments.crop == (64, 96) and arguments.precision == ["fp32", "bf16"]
