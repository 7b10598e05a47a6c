"""benchmarks/sweep.py and studies/cost_curves.py: one network at many shapes; a failure at one is a point."""

import json
import sys

import numpy as np
import pytest
import torch

from benchmarks import sweep
from benchmarks.record.files import CostCurves, load_if_any
from benchmarks.studies import cost_curves, reshape
from core.config import Config, DeployConfig
from core.config.tensorrt_options import BatchConfig, TensorrtConfig
from core.errors import UserError
from core.files.paths import ROOT, RunPaths
from deploy.bundle.types import Bundle
from qat.calibration.approaches import set_modes
from qat.models.checkpoint import load_state
from qat.pipeline import run as pipeline
from qat.quantization.quantizers import Mode
from tests.nets.exported import reference
from tests.unit.benchmarks.fakes import FakeBackend, FakeSession

CONFIG = {
    "run": "curves",
    "model": {"name": "custom", "factory": f"{ROOT}/tests/nets/residual.py:residual_net", "num_classes": 11},
    "data": {"name": "streets", "height_px": 32, "width_px": 32},
    "train": {"epochs": 1, "crop_height_px": 32, "crop_width_px": 32},
    "qat": {"epochs": 0},
    "bench": {
        "warmup_ms": 0,
        "sweep": {"backends": ["onnxruntime"], "batches": [1, 2], "sizes_px": [[32, 32], [64, 32]], "rounds": 3},
    },
}


class Building(FakeBackend):
    """A builder that builds nothing and refuses INT8 at one resolution."""

    target = "onnxruntime"

    def build(self, onnx, out, options):
        if options.precision == "int8" and onnx.read_text() == "(1, 64, 32)":
            raise RuntimeError("no kernel\nfor this")
        return Bundle(out, self.name, options.precision)


@pytest.fixture
def run(tmp_path, monkeypatch) -> Config:
    monkeypatch.chdir(tmp_path)
    paths = RunPaths("curves")
    paths.dir.mkdir(parents=True)
    for path in (paths.qat_checkpoint, paths.qdq_onnx):
        path.write_bytes(b"here")
    return Config.model_validate(CONFIG)


@pytest.fixture
def fakes(run, monkeypatch):
    def export_at(config, paths, shape, targets, folder):
        source = folder / "graph.onnx"
        source.write_text(str(shape))
        return {"fp32": source, **dict.fromkeys(targets, source)}

    backend = Building("onnxruntime", {"fp32": FakeSession(clock=(40.0,)), "int8": FakeSession(clock=(10.0,))})
    monkeypatch.setattr(cost_curves, "export_at", export_at)
    monkeypatch.setattr(cost_curves, "get_backend", lambda name: backend)
    return run


def test_every_shape_is_a_pair_of_points(fakes):
    found = cost_curves.sweep(fakes, "command")
    assert [(point.batch, point.precision, point.ms_per_image) for point in found.batches] == [
        (1, "fp32", 40),
        (1, "int8", 10),
        (2, "fp32", 20),
        (2, "int8", 5),
    ]
    assert found.batches[1].speedup_vs_fp32.value == 4 and found.batches[0].speedup_vs_fp32 is None
    assert load_if_any(CostCurves, "curves") == found
    assert not list(RunPaths("curves").dir.glob(".sweep.*")), "engines of the points are not kept"


def test_what_does_not_build_keeps_its_point(fakes):
    last = cost_curves.sweep(fakes, "command").sizes[-1]
    assert (last.height_px, last.precision, last.status, last.reason) == (
        *(64, "int8", "failed"),
        "RuntimeError: no kernel for this",
    )


def test_a_shape_the_network_does_not_take_does_not_stop_the_rest(fakes, monkeypatch):
    def refuse(*arguments):
        raise ValueError("too small")

    monkeypatch.setattr(cost_curves, "export_at", refuse)
    assert {point.reason for point in cost_curves.sweep(fakes, "command").batches} == {"ValueError: too small"}


def test_command_prints_a_line_per_point(fakes, monkeypatch, capsys):
    (RunPaths("curves").dir / "c.yaml").write_text(json.dumps(fakes.model_dump(mode="json")))
    monkeypatch.setattr(sys, "argv", ["sweep.py", "--config", "runs/curves/c.yaml"])
    assert sweep.main() == 0
    out = capsys.readouterr().out
    (line,) = {line for line in out.splitlines() if line.startswith("ONNX Runtime int8") and "2 × 32×32" in line}
    assert line.split()[-4:] == ["5.00", "4.00×", "[4.00,", "4.00]"]


def test_unsteady_points_ask_for_caution(fakes):
    cost_curves.get_backend("onnxruntime").sessions["int8"].clock = (10.0, 20.0)
    found = cost_curves.sweep(fakes, "command")
    assert "at 2 of 5 points" in found.caveats[0]


def test_builders_are_told_what_the_config_says(fakes, monkeypatch):
    told = []
    monkeypatch.setattr(Building, "build", lambda self, onnx, out, options: told.append(options))
    config = fakes.model_copy(
        update={
            "deploy": DeployConfig(
                fallback_precision="fp32", tensorrt=TensorrtConfig(batch=BatchConfig(min=1, opt=4, max=8))
            )
        }
    )
    cost_curves.sweep(config, "command")
    assert {(options.fallback_precision, options.threads) for options in told} == {("fp32", config.bench.threads)}
    assert not any("batch" in options.tensorrt for options in told), "each point has a graph of its own batch"


def test_an_untrained_run_is_refused(run):
    RunPaths("curves").qat_checkpoint.unlink()
    with pytest.raises(UserError, match=r"qat\.pt"):
        cost_curves.sweep(run, "command")


def test_exported_again_the_network_computes_what_was_trained(run, tmp_path, monkeypatch):
    monkeypatch.setattr(reshape, "fed", lambda source: source)  # pixels are compared in test_feed_pixels
    paths = RunPaths("curves")
    paths.qat_checkpoint.unlink()
    paths.qdq_onnx.unlink()
    pipeline.ensure(run)
    trained = pipeline.quantized_model(run, paths)
    load_state(trained, paths.qat_checkpoint)
    set_modes(trained, Mode.QUANTIZE)
    image = torch.randn(2, 3, 64, 48)
    sources = reshape.export_at(run, paths, (2, 64, 48), ["tensorrt"], tmp_path)
    with torch.inference_mode():
        expected = {"fp32": pipeline.float_model(run, paths).eval()(image), "tensorrt": trained.eval()(image)}
    for form, source in sources.items():
        logits = reference(source, {"image": image.numpy()})
        wanted = expected[form].numpy()
        assert logits.shape == wanted.shape
        assert np.abs(logits - wanted).mean() < 0.01 * np.abs(wanted).max()
