"""The climb on a small network: its result, also after a kill, against an exhaustive search."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.errors import EXIT_GATE_MISSED, EXIT_OK
from core.files.artifacts import read_json
from core.files.paths import ROOT, RunPaths
from deploy.targets import get_backend
from qat.__main__ import main
from qat.pipeline import run as pipeline
from qat.sensitivity.decide.search import layers_of
from qat.ship.candidate import Ptq, with_float
from qat.ship.climb import ship
from qat.ship.float_groups import cheapest_first, subject_of
from qat.ship.report import require_shipped
from qat.ship.trial import Measuring
from tests.uneven_line import CONFIG, REPAIRS, SPREAD, config_of, options

pytestmark = pytest.mark.slow
RESULT = RunPaths("case").results / "ship.json"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def command(own, *arguments):
    words = [word for override in own for word in ("--set", override)]
    return [sys.executable, "-m", "qat", "ship", "--config", str(CONFIG), *words, *arguments]


def start(own, *arguments):
    return subprocess.Popen(command(own, *arguments), env={**os.environ, "PYTHONPATH": str(ROOT)})


def chosen(path=RESULT):
    winner = read_json(path)["winner"]
    return winner and (winner["title"], winner["float_layers"], winner["change"])


def test_a_sound_network_ships_after_ptq_and_nothing_dearer_is_tried(uneven_weights, monkeypatch, capsys):
    own = options(uneven_weights, 1.0, *REPAIRS)
    monkeypatch.setattr("sys.argv", command(own, "--tolerance", "2")[2:])
    assert main() == EXIT_OK
    found = read_json(RESULT)
    assert {trial["step"] for trial in found["trials"]} == {"PTQ"}
    assert len(found["trials"]) == 1
    assert found["winner"]["title"] == "PTQ, mse"
    assert found["winner"]["int8"] == found["winner"]["convolutions"] == 8
    assert found["val"]["change"]["metric"]["low"] > -3
    first = capsys.readouterr().out.splitlines()[0]
    assert first == found["decision"]
    assert first.startswith("Ship OpenVINO INT8 (PTQ, mse): ")
    assert "8/8 in INT8" in first
    assert not [path for path in Path("runs").iterdir() if "qat" in path.name]


def test_nothing_meets_it_and_the_nearest_miss_is_told(uneven_weights, monkeypatch, capsys):
    own = options(uneven_weights, SPREAD, *REPAIRS, "qat.epochs=1")
    monkeypatch.setattr("sys.argv", command(own, "--tolerance", "0")[2:])
    assert main() == EXIT_GATE_MISSED
    found = read_json(RESULT)
    steps = list(dict.fromkeys(trial["step"] for trial in found["trials"]))
    assert steps == ["PTQ", "PTQ with bias correction", "PTQ with float groups", "QAT", "QAT with float groups"]
    assert found["winner"] is None
    error = capsys.readouterr().err
    nearest = max(found["trials"], key=lambda trial: trial["change"]["metric"]["low"])
    assert f"nearest: OpenVINO INT8 ({nearest['title']})" in error


def test_where_ptq_does_not_suffice_it_trains(uneven_weights, monkeypatch):
    monkeypatch.setattr("qat.ship.ladder.FLOAT_GROUPS", ())
    monkeypatch.setattr("qat.ship.ladder.CALIBRATORS", ())  # only the configured calibrator
    config = config_of(uneven_weights, SPREAD, *REPAIRS, "qat.calibration.method=entropy")
    everything = ship(config, tolerance=0.0)
    cheaper = max(trial.kept.low for trial in everything.trials if not trial.step.startswith("QAT"))
    trained = max(trial.kept.low for trial in everything.trials if trial.step == "QAT")
    assert trained > cheaper + 0.3
    found = ship(config, tolerance=-(cheaper + trained) / 2)  # everything is cached
    assert found.seconds < everything.seconds
    assert found.winner is not None
    assert found.winner.title.startswith("QAT")
    require_shipped(found)


def test_killed_it_goes_on_and_chooses_what_an_undisturbed_climb_chooses(uneven_weights, tmp_path, monkeypatch):
    own = [*REPAIRS, "qat.epochs=1"]
    monkeypatch.chdir(tmp_path)
    for name in ("straight", "killed"):
        (tmp_path / name).mkdir()
    os.chdir("straight")
    given = options(uneven_weights, SPREAD, *own)
    assert start(given, "--tolerance", "0.5").wait(300) in (EXIT_OK, EXIT_GATE_MISSED)
    os.chdir("../killed")
    options(uneven_weights, SPREAD, *own)
    kills = 0
    for wait_s in (6, 9, 12, 15):
        process = start(given, "--tolerance", "0.5")
        time.sleep(wait_s)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait(60)
    assert kills >= 2
    kept = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("trial-*.json")}
    assert start(given, "--tolerance", "0.5").wait(300) in (EXIT_OK, EXIT_GATE_MISSED)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())
    assert chosen() == chosen(tmp_path / "straight" / RESULT)


def test_a_spent_budget_ends_the_climb(uneven_weights):
    found = ship(config_of(uneven_weights, SPREAD, *REPAIRS), tolerance=0.0, budget_s=1e-3)
    assert "budget" in found.stopped
    assert not found.trials


def test_the_first_float_group_is_the_best_of_all_single_ones(uneven_weights):
    """Against exhaustive search on engines: one engine for each group in float."""
    config = config_of(uneven_weights, SPREAD, *REPAIRS)
    pipeline.ensure_fp32(config)
    backend = get_backend("openvino")
    measuring = Measuring(config, [backend])
    found = ship(config, tolerance=0.0, budget_s=600)
    source = Ptq(config).candidate("mse")
    source.make()

    def subject():
        return subject_of(source, config)

    divergences = {}
    for group in subject().groups:
        alone = with_float(source, [group.name], layers_of([group], [group.name]), subject)
        alone.make()
        divergences[group.name] = measuring.trial(alone, backend).score.divergence
    order = cheapest_first(source, subject, measuring, backend)
    best, worst = min(divergences.values()), max(divergences.values())
    first = divergences[order[0].name]
    assert first - best < 0.35 * (worst - best)
    front = [trial for trial in found.trials if found.on_front(trial)]
    for trial in found.trials:  # by exhaustive comparison
        beaten = any(
            other.latency_ms <= trial.latency_ms and other.kept.value >= trial.kept.value and other != trial
            for other in found.trials
        )
        assert (trial in front) != beaten
