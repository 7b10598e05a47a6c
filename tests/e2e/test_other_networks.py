"""Networks from outside the project, from FP32 training to measured engines."""

from pathlib import Path

import pytest

from benchmarks.measure.pipeline import bench
from benchmarks.record.rows import find_row
from core.config import load_config
from core.files.artifacts import read_json
from core.files.paths import RunPaths
from deploy.plan.plan import read_placement
from qat.pipeline import run as pipeline
from tests.small_line import small_config

ROOT = Path(__file__).parents[2]
FACTORY = """
from torch.nn import functional as F

from tests.nets.awkward import Awkward, Computed


def awkward(num_classes):
    return Awkward(num_classes, "dict")


def computed(num_classes):
    return Computed(num_classes)


def both_heads(outputs, label):
    heads = outputs if isinstance(outputs, tuple) else (outputs,)
    small = label[:, None].float()
    labels = [F.interpolate(small, size=head.shape[2:], mode="nearest")[:, 0].long() for head in heads]
    losses = [F.cross_entropy(head.float(), each, ignore_index=255) for head, each in zip(heads, labels)]
    return {"loss": sum(losses), "main": losses[0].detach()}
"""
SMALL = [
    "data.height_px=64",
    "data.width_px=64",
    "data.train_images=6",
    "data.val_images=3",
    "train.epochs=1",
    "train.batch_size=2",
    "train.crop_height_px=64",
    "train.crop_width_px=64",
    "train.precision=fp32",
    "qat.epochs=1",
    "qat.batch_size=2",
    "qat.calibration.images=4",
    "bench.rounds=3",
    "bench.warmup_ms=0",
    "bench.throughput_ms=0",
]


@pytest.mark.parametrize(
    ("weights", "overrides"),
    [
        (5, ("model.factory={file}:awkward", "model.output=out", "model.loss={file}:both_heads")),
        (4, ("model.factory={file}:computed", "qat.distill.labels=false", "train.crop_height_px=24")),
    ],
)
def test_awkward_networks_are_trained_and_quantized(tmp_path, monkeypatch, weights, overrides):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "nets.py"
    file.write_text(FACTORY, encoding="utf-8")
    own = [override.format(file=file) for override in overrides]
    pipeline.ensure(small_config(tmp_path, *own, "model.checkpoint=null", "train.epochs=1", "train.batch_size=2"))
    paths = RunPaths("small")
    plan = read_placement(paths.plan)
    assert len(plan.weights) == weights
    assert read_json(paths.simulated_score)["simulated"]["images"] == 3
    assert '"main"' in paths.metrics.read_text() or "both_heads" not in str(overrides)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "convolutions"), [("ddrnet_23_slim", 55), ("bisenetv2", 42), ("unet", 19)])
def test_the_zoo_goes_from_training_to_engines(tmp_path, monkeypatch, name, convolutions):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    config = load_config(ROOT / "examples" / "zoo" / f"{name}.yaml", SMALL)
    found = bench(config, "the command")
    assert not [row for row in found.rows if row.status == "failed"]
    for backend in ("openvino", "onnxruntime"):
        row = find_row(found.rows, backend, "int8")
        assert row.status == "ok" and row.convs_int8 > 0
        assert 0 <= row.score <= 100 and row.agreement_fp32 > 20
    assert max(row.convs_int8 or 0 for row in found.rows) >= convolutions
