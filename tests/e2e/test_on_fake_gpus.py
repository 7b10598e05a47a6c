"""All PyTorch code on GPUs that refuse operands from other devices (see `tests.fake_gpu`)."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import qat.calibration.statistics
from benchmarks import qat_table
from benchmarks.measure.pipeline import bench
from benchmarks.record.files import load
from benchmarks.studies import training_variants
from benchmarks.studies.training_variants import NAMES, Settings, missing, variant
from core.config import Config, load_config
from core.console import console
from core.files.artifacts import read_json
from core.files.paths import RunPaths
from qat import api
from qat.__main__ import main
from qat.models.checkpoint import load_state
from qat.pipeline import run as pipeline
from qat.pipeline.contest import tuning_evaluator
from qat.quantization.quantizers import quantizers
from qat.ship.climb import ship
from qat.tracing.inputs import device_of
from qat.training.train import fit
from qat.training.weight_average import WeightAverage
from tests.fake_gpu import Elsewhere, ModeloptKernels, fake_gpus, twin_processes
from tests.nets.residual import residual_net
from tests.small_line import CONFIG, settings, small_config
from tests.unit.qat.recipes.qat_script import Run
from tests.unit.qat.training.train_script import Noise, make_loss, make_model, make_plan

TOOLKITS = ("auto", "builtin")
RECIPE = (
    "qat.ema_decay=0.8",
    "qat.early_stop_epochs=9",
    "qat.clip_norm=1.0",
    "qat.warmup_steps=1",
    "qat.batch_norm_steps=2",
    "qat.distill.weight=1.0",
    "qat.distill.features=[stem]",
    "qat.distill.feature_weight=0.5",
)
FLOAT_TRAINING = ("model.checkpoint=null", "train.epochs=1", "train.batch_size=2")
ENGINES = (
    "deploy.backends=[openvino, onnxruntime]",
    "bench.rounds=2",
    "bench.runs_per_round=2",
    "bench.warmup_ms=0",
    "bench.throughput_ms=0",
)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Return a function that makes the config of a small run in the current, empty folder."""
    monkeypatch.chdir(tmp_path)

    def config(*overrides: str) -> Config:
        return small_config(tmp_path, *overrides)

    return config


@pytest.fixture
def seen(monkeypatch):
    """Devices of the tensors in calibration, scoring and weight averaging."""
    found: dict[str, set[torch.device]] = {"calibrated": set(), "scored": set(), "averaged": set()}
    record, average = qat.calibration.statistics._record, WeightAverage.on_step_end

    def recorded(histogram, module, inputs, output):
        found["calibrated"].add(output.device)
        record(histogram, module, inputs, output)

    def averaged(self, step):
        average(self, step)
        found["averaged"].update(value.device for value in self.average.module.parameters())

    def scored(logits, label):
        found["scored"].add(logits.device)
        return upsample(logits, label)

    from qat.models.outputs import upsample

    monkeypatch.setattr(qat.calibration.statistics, "_record", recorded)
    monkeypatch.setattr(WeightAverage, "on_step_end", averaged)
    monkeypatch.setattr("qat.tasks.segmentation.upsample", scored)
    return found


@pytest.mark.parametrize(
    ("approach", "toolkit"),
    [("calibrate", "auto"), ("stats_only", "auto"), ("direct", "auto"), ("calibrate", "builtin")],
)
def test_the_line_from_data_to_results(small, approach, toolkit):
    config = small(*FLOAT_TRAINING, *ENGINES, f"qat.approach={approach}", f"qat.toolkit={toolkit}")
    with fake_gpus():
        bench(config, "a command")
    rows = {row.name: row for row in load(config.run).rows if row.status == "ok"}
    assert {"OpenVINO fp32", "OpenVINO int8", "ONNX Runtime fp32", "ONNX Runtime int8"} <= rows.keys()
    for name in ("OpenVINO int8", "ONNX Runtime int8"):
        assert rows[name].agreement_simulated > 95
    named = read_json(RunPaths(config.run).simulated_score)["toolkit"]
    assert named == "builtin" or toolkit == "auto"


@pytest.mark.parametrize(
    ("approach", "learned", "toolkit"),
    [
        ("calibrate", False, "auto"),
        ("calibrate", True, "auto"),
        ("stats_only", False, "auto"),
        ("direct", True, "auto"),
        ("calibrate", False, "builtin"),
        pytest.param("calibrate", True, "builtin", marks=pytest.mark.slow),
        pytest.param("stats_only", False, "builtin", marks=pytest.mark.slow),
        ("direct", True, "builtin"),
    ],
)
def test_every_recipe_computes_as_on_the_cpu(small, seen, approach, learned, toolkit):
    """Values agree except for the last bits: the GPU's operators sum in another order."""
    own = (f"qat.approach={approach}", f"qat.toolkit={toolkit}", f"qat.learned_scales={str(learned).lower()}")
    means = f"qat.correct_means={str(approach != 'direct').lower()}"  # direct has no ranges before training
    config, found = small(*RECIPE, *own, means), {}
    for place in ("cpu", "cuda"):
        with fake_gpus() as (gpu, _):
            pipeline.ensure(config.model_copy(update={"run": place, "device": place}))
        expected = {gpu if place == "cuda" else torch.device("cpu")}
        assert seen["scored"] == seen["averaged"] == seen["calibrated"] == expected  # `direct` competes with PTQ
        for devices in seen.values():
            devices.clear()
        paths = RunPaths(place)
        found[place] = torch.load(paths.qat_checkpoint, weights_only=True), np.load(paths.parity)["logits"]
    (ours, our_logits), (theirs, their_logits) = found.values()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        if isinstance(value, torch.Tensor):
            assert value.device == theirs[name].device == torch.device("cpu")
            torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-4, msg=name)
        else:
            assert value == theirs[name], name
    assert np.abs(our_logits - their_logits).max() < 0.05 * np.abs(our_logits).max()


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_a_training_resumes_on_the_gpu_and_on_the_cpu(tmp_path, toolkit):
    ends = {}
    for name, place in (("straight", fake_gpus), ("same", fake_gpus), ("other", nullcontext)):
        if name != "straight":
            with fake_gpus(), pytest.raises(InterruptedError):
                Run(tmp_path / name, toolkit=toolkit).start(stop_at=5)
        with place(), console.capture() as captured:
            run = Run(tmp_path / name, toolkit=toolkit)
            run.start()
        assert "starts over" not in captured.get()
        ends[name] = torch.load(run.plan.weights, weights_only=True)
    for name, value in ends["straight"].items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, ends["same"][name]), name
            torch.testing.assert_close(ends["other"][name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_weights_written_on_a_gpu_load_where_there_is_none(tmp_path):
    weights, model = residual_net(1).state_dict(), residual_net(2)
    with fake_gpus() as (gpu, _):
        torch.save({name: value.to(gpu) for name, value in weights.items()}, tmp_path / "given.pt")
    load_state(model, tmp_path / "given.pt")
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("approach", ["calibrate", "stats_only", "direct"])
def test_what_processes_exchange_is_on_their_gpus(small, approach):
    config = small(*FLOAT_TRAINING, *RECIPE, f"qat.approach={approach}", "qat.learned_scales=true")
    with fake_gpus(), twin_processes():
        pipeline.ensure(config)
    assert RunPaths(config.run).qdq_onnx.is_file()


def test_what_the_loss_of_three_heads_exchanges_is_on_the_gpu(tmp_path):
    with fake_gpus() as (gpu, _), twin_processes():
        model, plan = make_model(), make_plan(tmp_path, epochs=1)
        assert plan.device == gpu
        fit(model, Noise, make_loss(), plan)
    assert plan.weights.is_file()


def test_commands_of_single_steps(small, seen, tmp_path, monkeypatch, capsys):
    words = [word for override in settings(tmp_path) for word in ("--set", override)]
    monkeypatch.chdir(tmp_path)

    def command(name, *more):
        monkeypatch.setattr(sys, "argv", ["qat", name, "--config", str(CONFIG), *words, *more])
        with fake_gpus() as gpus:
            assert not main()
        return {gpus[0]}

    checkpoint = RunPaths("small").calibrated_checkpoint
    assert seen["calibrated"] == set()
    assert command("calibrate") == seen["calibrated"]
    command("export", "--checkpoint", str(checkpoint))
    assert checkpoint.with_suffix(".onnx").is_file()
    for arguments in ((), ("--checkpoint", str(checkpoint))):
        seen["scored"].clear()
        capsys.readouterr()
        assert command("evaluate", *arguments) == seen["scored"]
        assert json.loads(capsys.readouterr().out)["images"] == 3


def test_the_climb_to_an_engine(small, seen, monkeypatch):
    """No engine meets a tolerance below zero, so every step of the ladder runs."""
    monkeypatch.setattr("qat.ship.ladder.FLOAT_GROUPS", (1,))
    monkeypatch.setattr("qat.ship.ladder.CALIBRATORS", ("max",))
    config = small(*ENGINES, "deploy.backends=[openvino]", "qat.epochs=1", "qat.calibration.method=mse")
    with fake_gpus() as (gpu, _):
        found = ship(config, tolerance=-100.0)
    assert found.winner is None
    assert {trial.step for trial in found.trials} >= {"PTQ", "PTQ with float groups", "QAT", "QAT with float groups"}
    assert seen["calibrated"] == {gpu}
    assert gpu in seen["scored"]


def test_engines_are_compared_with_a_network_on_the_gpu(small):
    """Engines' answers are on the CPU; FP32's answers stay on its device."""
    with fake_gpus():
        evaluator = tuning_evaluator(small(), residual_net(0))
        found = evaluator.answers(lambda images: torch.zeros(len(images), 5, 32, 48))
    assert 0 <= found.agreement.min() <= found.agreement.max() <= 100


def test_the_python_api_follows_the_network(tmp_path):
    example, images = torch.zeros(1, 3, 16, 16), [torch.randn(1, 3, 16, 16) for _ in range(2)]
    with fake_gpus() as (gpu, _):
        model = api.quantize(residual_net().to(gpu), example.to(gpu))
        api.calibrate(model, images)
        api.export(model, example.to(gpu), tmp_path / "qdq.onnx")
        assert {value.device for value in model.state_dict().values() if isinstance(value, torch.Tensor)} == {gpu}
    assert (tmp_path / "qdq.onnx").is_file() and all(item.is_set for item in quantizers(model).values())


@pytest.mark.parametrize("name", NAMES)
def test_every_training_step_that_is_timed(name, monkeypatch):
    if missing(name):
        pytest.skip(missing(name))
    made: list[nn.Module] = []
    stepper = training_variants.Stepper
    monkeypatch.setattr(training_variants, "build_model", lambda *_, **__: residual_net())
    monkeypatch.setattr(training_variants, "Stepper", lambda model, *rest: made.append(model) or stepper(model, *rest))
    config = load_config(CONFIG, ["model.num_classes=5"])
    with fake_gpus() as (gpu, _):
        step = variant(name, Settings(config, batch=2, height_px=32, width_px=32, precision="fp32"))
        step(0)
    assert device_of(made[0]) == gpu


def test_rows_of_the_qat_table(small, seen, tmp_path):
    small()
    overrides = [*settings(tmp_path), "qat.epochs=1", "qat.ema_decay=0.8"]
    arguments = Namespace(
        config=CONFIG,
        overrides=overrides,
        rows="fp32_extra,ptq:max",
        seeds="0",
        split="val",
        backend="openvino",
        json=False,
    )
    with fake_gpus() as (gpu, _):
        qat_table.run(arguments)
    assert seen["averaged"] == seen["calibrated"] == {gpu}
    rows = json.loads(Path("benchmarks/results/small/qat_table-val.json").read_text(encoding="utf-8"))["rows"]
    assert [row["name"] for row in rows] == ["fp32_extra", "ptq:max"]


def test_the_device_is_one_that_mixes_with_no_other():
    with fake_gpus() as (first, second):
        there, elsewhere, here = torch.ones(3, device=first), torch.ones(3, device=second), torch.ones(3)
        for other in (elsewhere, here):
            with pytest.raises(RuntimeError, match="same device"):
                there + other
        assert (there + torch.tensor(2.0)).tolist() == [3.0, 3.0, 3.0]
        with pytest.raises((TypeError, RuntimeError)):
            there.numpy()
        assert type(there.cpu()) is torch.Tensor and there.cpu().numpy().sum() == 3
        assert there.is_cuda and isinstance(here.to(first), Elsewhere)


@pytest.mark.parametrize(("axis", "narrow"), [(None, False), (0, True)])
def test_modelopt_s_kernels_are_called_and_give_what_ours_give(axis, narrow, monkeypatch):
    from core.errors import UnsupportedEnvironment
    from qat.quantization.quantizers import Mode, Quantizer
    from qat.quantization.toolkits import quantizer_class

    try:
        kind = quantizer_class("modelopt")
    except UnsupportedEnvironment as error:
        pytest.skip(f"{error.why}; {error.fix}")
    calls = []
    kernel = ModeloptKernels.fake_tensor_quant
    monkeypatch.setattr(ModeloptKernels, "fake_tensor_quant", lambda *given: calls.append(given) or kernel(*given))
    x = 3 * torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    found = []
    with fake_gpus() as (gpu, _):
        for cls in (kind, Quantizer):
            quantizer = cls(axis=axis, channels=4, narrow=narrow).to(gpu)
            quantizer.set_amax(torch.linspace(1, 3, 4) if axis == 0 else 2.0, "test")
            quantizer.set_mode(Mode.QUANTIZE)
            given = x.to(gpu).requires_grad_()
            result = quantizer(given)
            result.sum().backward()
            found.append((result.detach().cpu(), given.grad.cpu()))
    assert len(calls) == 1
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)
