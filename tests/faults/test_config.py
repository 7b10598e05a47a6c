"""Invalid configs and `--set` options: the message names the key, the valid values, and the source."""

from __future__ import annotations

import pytest

from tests.faults.commands import options
from tests.small_line import CONFIG

REFUSED = {
    "seed=-1": "seed must be at least 0, not -1",
    "seed=1.5": "seed must be a whole number",
    "train.lr=.inf": "train.lr must be a finite number",
    "qat.lr=.nan": "qat.lr must be a finite number",
    "data.mean=[.nan, 0, 0]": "data.mean.0 must be a finite number",
    "data.std=[0, 1, 1]": "data.std.0 must be more than 0",
    "data.std=[1, 1]": "data.std.2 is missing",
    "train.scale_min=9": "`scale_min` 9 is above `scale_max`",
    "qat.scale_min=9": "`scale_min` 9 is above `scale_max`",
    "seeed=1": "seeed is not a key; did you mean seed?",
    "train.epoch=1": "train.epoch is not a key; did you mean epochs?",
    "placement.layers=[{match: a, wieghts: false}]": "did you mean weights?",
    "model.num_classes=256": "segmentation has at most 255 classes",
    "deploy.backends=[]": "deploy.backends must have at least 1 items",
    "deploy.backends=[tvm]": "must be 'openvino', 'onnxruntime', 'tensorrt' or 'tensorrt_rtx'",
    "placement.profile=auto": "placement.profile is now placement.rule_set",
    "deploy.rest=fp32": "deploy.rest is now deploy.fallback_precision",
    "deploy.trt.cuda_graph=true": "deploy.trt is now deploy.tensorrt",
    "deploy.backends=[openvino, trt]": "deploy.backends.1: trt is now tensorrt or tensorrt_rtx",
    "bench=3": "bench must be a mapping",
    "train.flip=maybe": "train.flip must be true or false",
    "run=../up": "run must match",
    "run=2024-01-01x/": "run must match",
    "train.epochs=" + "9" * 5000: "the value is not valid YAML",
    "train.epochs=" + "[" * 5000: "nested too deeply",
    "seed": "not of the form a.b=c",
}


@pytest.mark.parametrize("override", REFUSED, ids=lambda text: text[:40])
def test_an_option_is_refused_by_its_own_name(command, override):
    done = command("qat.__main__", "run", *options([override], CONFIG))
    done.refuses(2, "--set ", REFUSED[override])
    assert str(CONFIG) not in done.err
    for raw in ("Extra inputs", "Value error", "Input should"):
        assert raw not in done.err
    assert len(done.err) < 1000


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("seed: 1\nseed: 2", "key 'seed' appears twice"),
        ("seeed: 1", "seeed is not a key"),
        ("seed: -1", "seed must be at least 0"),
        ("task: 2024-01-01", "task must be 'segmentation' or 'classification', not '2024-01-01'"),
        ("seed: " + "9" * 5000, "not valid YAML"),
        ("seed: " + "[" * 5000, "nested too deeply"),
        ("x: &a [1]\n? *a\n: 2", "not a name"),
        ("seed: \0", "not valid YAML"),
    ],
    ids=lambda text: text[:20],
)
def test_a_file_is_refused_by_its_name(command, tmp_path, line, words):
    lines = CONFIG.read_text(encoding="utf-8").replace("seed: 0\n", "").replace("task: segmentation\n", "")
    (tmp_path / "mine.yaml").write_text(f"{lines}\n{line}\n", encoding="utf-8")
    command("qat.__main__", "run", "--config", "mine.yaml", "--set", "bench.threads=1").refuses(2, "mine.yaml", words)


def test_a_fault_of_the_file_is_not_blamed_on_the_option(command, tmp_path):
    (tmp_path / "mine.yaml").write_text(CONFIG.read_text(encoding="utf-8") + "\nwrong: 1\n", encoding="utf-8")
    done = command("qat.__main__", "run", "--config", "mine.yaml", "--set", "seed=1")
    done.refuses(2, "mine.yaml is not a valid config", "wrong is not a key")


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_no_config_file(command, name):
    command("qat.__main__", "run", "--config", name).refuses(2, "no config file")


def test_the_sensitivity_config_refuses_the_same(command, tmp_path):
    (tmp_path / "config.yaml").write_text("tolerance: 1\ntolerance: 2\n", encoding="utf-8")
    command("sensitivity_analysis").refuses(2, "key 'tolerance' appears twice")
    (tmp_path / "config.yaml").write_text("model_pth: a.pt\n", encoding="utf-8")
    command("sensitivity_analysis").refuses(2, "model_pth is not a key; did you mean model_path?")
