"""`python -m qat calibrate | export | evaluate`, and what every approach reads before and during training."""

import json
import math
import shutil

import pytest
import torch

from core.console import console
from core.errors import EXIT_OK, EXIT_USER_ERROR
from core.files.artifacts import read_json, sha256_file
from core.files.paths import RunPaths
from qat.__main__ import OTHER_NAMES, main
from qat.data import files
from qat.pipeline import run as pipeline
from tests.small_line import CONFIG, settings, small_config

PATHS = RunPaths("small")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def qat(folder, monkeypatch):
    """The command line, with the small run's settings."""
    own = settings(folder)

    def run(command, *overrides, options=()):
        words = [word for override in (*own, *overrides) for word in ("--set", override)]
        monkeypatch.setattr("sys.argv", ["qat", command, "--config", str(CONFIG), *words, *map(str, options)])
        return main()

    return run


def quantizers_in(checkpoint):
    """(amax, origin) of every quantizer in a checkpoint."""
    state = torch.load(checkpoint, weights_only=True)
    paths = [name.removesuffix("_extra_state") for name in state if name.endswith("_extra_state")]
    return {path.rstrip("."): (state[f"{path}amax"], state[f"{path}_extra_state"]["origin"]) for path in paths}


@pytest.mark.parametrize(("approach", "origin"), [("calibrate", "histogram-mse"), ("stats_only", "observed-range")])
def test_calibrate_gives_every_quantizer_a_range_and_equals_the_line_without_training(qat, capsys, approach, origin):
    assert qat("calibrate", f"qat.approach={approach}") == EXIT_OK
    found = quantizers_in(PATHS.calibrated_checkpoint)
    assert len(found) == 12  # the picture has none: its pixels are 8 bits already
    assert all(bool(torch.isfinite(amax).all()) and bool((amax > 0).all()) for amax, _ in found.values())
    assert {recorded for _, recorded in found.values()} == {origin, "max"}

    export = ("--checkpoint", PATHS.calibrated_checkpoint, "--output", "alone.onnx")
    assert qat("export", f"qat.approach={approach}", options=export) == EXIT_OK
    assert qat("run", f"qat.approach={approach}", "qat.epochs=0") == EXIT_OK
    assert sha256_file(PATHS.dir.parent.parent / "alone.onnx") == sha256_file(PATHS.qdq_onnx)

    capsys.readouterr()
    assert qat("evaluate", options=("--checkpoint", PATHS.calibrated_checkpoint)) == EXIT_OK
    assert json.loads(capsys.readouterr().out) == read_json(PATHS.simulated_score)["simulated"]
    assert qat("evaluate") == EXIT_OK
    assert json.loads(capsys.readouterr().out)["images"] == 3


def test_calibrating_again_does_nothing_until_the_calibrator_changes(qat):
    def calibrate(*overrides):
        with console.capture() as captured:
            assert qat("calibrate", *overrides) == EXIT_OK
        return captured.get()

    assert "stage 3/3 calibration" in calibrate()
    assert "stages 1-3/3 up to date" in calibrate("qat.epochs=9", "qat.lr=0.1")
    assert "stage 3/3 calibration: calibration.method: 'mse' → 'max'" in calibrate("qat.calibration.method=max")
    assert {origin for _, origin in quantizers_in(PATHS.calibrated_checkpoint).values()} == {"histogram-max", "max"}


@pytest.mark.parametrize("settings", [("qat.epochs=0",), ("qat.epochs=2",)])
def test_direct_cannot_calibrate(qat, capsys, settings):
    assert qat("calibrate", "qat.approach=direct", *settings) == EXIT_USER_ERROR
    assert "direct calibrates nothing" in capsys.readouterr().err
    assert not PATHS.calibrated_checkpoint.exists()


def test_direct_without_epochs_is_refused_by_the_line(qat, capsys):
    assert qat("run", "qat.approach=direct", "qat.epochs=0") == EXIT_USER_ERROR
    error = capsys.readouterr().err
    assert "direct needs training" in error and "qat.epochs is 0" in error
    assert not PATHS.qdq_onnx.exists()


@pytest.mark.parametrize("damage", ["nan", "inf", "origin"])
def test_export_refuses_ranges_that_nobody_can_answer_for(qat, capsys, damage):
    assert qat("calibrate") == EXIT_OK
    state = torch.load(PATHS.calibrated_checkpoint, weights_only=True)
    if damage == "origin":
        state["quantizers.stem._extra_state"]["origin"] = ""
    else:
        state["quantizers.stem.amax"].fill_(float(damage))
    torch.save(state, "damaged.pt")
    assert qat("export", options=("--checkpoint", "damaged.pt")) == EXIT_USER_ERROR
    assert "quantizers.stem" in capsys.readouterr().err
    assert not (PATHS.dir.parent.parent / "damaged.onnx").exists()


def test_checkpoints_that_do_not_fit_are_refused(qat, capsys):
    assert qat("export") == EXIT_USER_ERROR
    assert "no checkpoint" in capsys.readouterr().err
    assert qat("calibrate", "placement.skip=[head]") == EXIT_OK
    assert qat("export", options=("--checkpoint", PATHS.calibrated_checkpoint)) == EXIT_USER_ERROR
    assert "placement" in capsys.readouterr().err


def test_help_lists_every_command(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["qat", "--help"])
    with pytest.raises(SystemExit):
        main()
    text = capsys.readouterr().out
    assert all(command in text for command in ("train", "fp32", "export", "evaluate", "ship", *OTHER_NAMES))


def test_calibration_needs_no_validation_files(qat, folder):
    shutil.rmtree(folder / "data" / "val")
    shutil.rmtree(folder / "data" / "valannot")
    assert qat("calibrate") == EXIT_OK


@pytest.mark.parametrize(
    ("approach", "before"), [("calibrate", {4, 5, 7, 8}), ("stats_only", {4, 5, 7, 8}), ("direct", set())]
)
def test_approaches_differ_in_what_they_read_and_when(folder, monkeypatch, approach, before):
    config = small_config(folder, f"qat.approach={approach}", "qat.keep=last")
    read = []
    decode, fine_tune = files.read_rgb, pipeline.fine_tune

    def noting(path):
        read.append(path.stem)
        return decode(path)

    def training(*arguments):
        read.append("training")
        fine_tune(*arguments)
        read.append("trained")

    monkeypatch.setattr(files, "read_rgb", noting)
    monkeypatch.setattr(pipeline, "fine_tune", training)
    monkeypatch.setattr(pipeline, "_require_data", lambda *_, **__: None)  # reads every image before
    pipeline.ensure(config)
    start, end = read.index("training"), read.index("trained")
    assert set(read[:start]) == {f"train{index}" for index in before}
    assert set(read[start + 1 : end]) == {f"train{index}" for index in range(4, 10)}  # of 11; the others are for tuning
    assert "val0" in read[end:]
    found = quantizers_in(PATHS.qat_checkpoint)
    origins = {"calibrate": {"histogram-mse", "max"}, "stats_only": {"ema", "max"}, "direct": {"learned"}}
    assert {origin for _, origin in found.values()} == origins[approach]
    assert all(math.isfinite(value) and value > 0 for amax, _ in found.values() for value in amax.reshape(-1).tolist())
