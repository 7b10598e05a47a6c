"""benchmarks/peers.py and baselines/: build, measure in turns, compare, check limits."""

import json
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import peers
from benchmarks.baselines import build, compare
from benchmarks.baselines.catalog import baseline
from benchmarks.measure.engines import Candidate, measure
from benchmarks.measure.environment import describe
from benchmarks.measure.validation import Validation
from benchmarks.record.files import Comparison, load_if_any
from benchmarks.record.gate import missed_against_baselines
from benchmarks.record.rows import Latency, Row, best_baseline, best_float
from benchmarks.record.table import baselines, comparison_notes, table_of
from benchmarks.report.page import render
from core.cli.naming import by_make
from core.config import Config
from core.files.paths import RunPaths
from core.interval import Interval
from deploy.checks.layer_snr import LayerSnr
from tests.unit.benchmarks.fakes import BENCH, CLASSES, SEGMENTATION, FakeBackend, FakeSession, Squares, built, prepare
from tests.unit.benchmarks.report.test_report import found_in
from tests.unit.benchmarks.test_run import CONFIG

OURS = "ours"


def row(tool, p50=10.0, ratio=None, score=60.0, delta=0.0, backend="openvino", **more):
    """A measured row of ours, of FP32, or of a baseline; `ratio` is ours over this one."""
    return Row(
        tool="" if tool in (OURS, "fp32") else tool,
        backend=backend,
        precision="fp32" if tool == "fp32" else "int8",
        status="ok",
        latency_ms=Latency(p50=p50, p90=p50, p99=p50, mean=p50, cv=0.0),
        ours_over_this=None if ratio is None else Interval(ratio, ratio, ratio),
        score=score,
        delta_score=Interval(delta, delta, delta),
        **more,
    )


class OneBackend:
    """Bundles by folder name, so that several engines of one backend and precision stay apart."""

    def __init__(self, sessions):
        self.sessions = sessions

    def __getattr__(self, name):
        return getattr(FakeBackend("openvino", {}), name)

    def open(self, bundle):
        return FakeBackend("openvino", {bundle.precision: self.sessions[bundle.dir.parent.name]}).open(bundle)


@pytest.fixture
def contest(tmp_path):
    """FP32, ours and a baseline on one backend: their sessions by name, and a function that measures them."""
    log = []
    sessions = {
        "fp32": FakeSession("fp32", (40.0,), log=log),
        OURS: FakeSession(OURS, (9.0, 9.0, 9.6), log=log),
        "nncf-mixed": FakeSession("nncf-mixed", (10.0,), wrong_columns=2, log=log),
    }

    def run():
        precisions = {tool: "fp32" if tool == "fp32" else "int8" for tool in sessions}
        candidates = [
            Candidate(built(tmp_path / tool, "openvino", precision, tool.encode()), row(tool).tool)
            for tool, precision in precisions.items()
        ]
        validation = Validation(Squares(), prepare, CLASSES, SEGMENTATION, simulated=None, key="squares")
        backends = {"openvino": OneBackend(sessions)}
        return compare.by_latency(measure(candidates, backends, validation, BENCH, tmp_path / "scores.json")[0])

    return sessions, log, run


def test_all_engines_are_timed_in_turns(contest):
    sessions, log, run = contest
    run()
    counted = [entry for entry in log if entry.endswith(f" {BENCH.runs_per_round}")]
    turns = [set(counted[start : start + len(sessions)]) for start in range(0, len(counted), len(sessions))]
    assert turns == [{f"{tool} {BENCH.runs_per_round}" for tool in sessions}] * BENCH.rounds


def test_rows_have_latency_accuracy_and_the_ratio_of_ours(contest):
    rows = {found.tool or found.precision: found for found in contest[2]()}
    assert list(rows) == ["int8", "nncf-mixed", "fp32"]
    assert rows["nncf-mixed"].ours_over_this.value == pytest.approx(0.9)
    assert rows["fp32"].ours_over_this.value == pytest.approx(9 / 40)
    assert rows["int8"].ours_over_this is None
    assert rows["nncf-mixed"].delta_score.value < 0 == rows["int8"].delta_score.value
    assert rows["int8"].convs_int8 == 1 and rows["int8"].convs_total == 2
    assert rows["fp32"].engine_size_bytes == len(b"fp32")


def test_an_unchanged_engine_is_not_scored_again(contest):
    sessions, log, run = contest
    first = run()
    log.clear()
    assert run() == first
    assert len([entry for entry in log if entry.startswith("run ")]) == len(sessions)  # the trial when it is opened


def test_bf16_takes_part_only_when_asked_for(tmp_path):
    outcomes = [built(tmp_path, "openvino", precision) for precision in ("fp32", "bf16", "int8")]
    assert [each.outcome.precision for each in compare.own(outcomes, ["nncf"])] == ["fp32", "int8"]
    assert [each.outcome.precision for each in compare.own(outcomes, ["nncf", "bf16"])] == ["fp32", "bf16", "int8"]


@pytest.fixture
def run_config(tmp_path, monkeypatch, exported):
    """A run whose float graph is there."""
    monkeypatch.chdir(tmp_path)
    paths = RunPaths("squares")
    paths.dir.mkdir(parents=True)
    paths.float_onnx.write_bytes(exported.fp32.read_bytes())
    monkeypatch.setattr(build, "dataset_of", lambda config, split: Squares())
    return Config.model_validate({**CONFIG, "deploy": {"backends": ["onnxruntime"]}})


def copies_float_graph(baseline, paths, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / baseline.file).write_bytes(paths.float_onnx.read_bytes())


def test_a_quantized_baseline_is_a_stage(run_config, monkeypatch):
    calls = []
    monkeypatch.setattr(build, "_quantize", lambda *args: (calls.append(1), copies_float_graph(*args)))
    for _ in range(2):
        (found,) = build.ensure(run_config, [baseline("ort-s8s8")])
        assert found.outcome.status == "ok" and found.outcome.bundle.precision == "int8"
    assert len(calls) == 1
    build.ensure(run_config, [replace(baseline("ort-s8s8"), settings={"method": "other"})])
    assert len(calls) == 2


def test_a_baseline_whose_process_fails_is_a_row_with_its_last_words(run_config):
    (found,) = build.ensure(run_config, [replace(baseline("ort-s8s8"), name="no-such-baseline")])
    assert found.outcome.status == "failed" and found.outcome.bundle is None
    assert "exit code 2" in found.outcome.reason and "no-such-baseline" in found.outcome.reason
    assert "choose from" in Path("runs/squares/baselines/no-such-baseline/quantize.log").read_text()


def test_a_baseline_that_is_not_installed_is_a_row_with_the_fix(run_config):
    (found,) = build.ensure(run_config, [replace(baseline("ort-s8s8"), imports=("no_such_toolkit",))])
    assert found.outcome.status == "unavailable"
    assert found.outcome.reason == f"not installed: no_such_toolkit; fix: run `{by_make('peers')}`"


def test_a_model_that_the_engine_refuses_is_a_row(run_config, monkeypatch):
    monkeypatch.setattr(build, "_quantize", lambda chosen, paths, folder: breaks(folder / chosen.file))
    (found,) = build.ensure(run_config, [baseline("ort-s8s8")])
    assert found.outcome.status == "failed" and found.outcome.bundle is None and found.outcome.reason


def breaks(target):
    target.parent.mkdir(parents=True)
    target.write_bytes(b"no graph")


def test_baselines_go_only_to_engines_of_the_config(run_config):
    assert build.ensure(run_config, [baseline("nncf-mixed")]) == []


def test_best_baseline_is_the_fastest_that_keeps_its_accuracy():
    rows = [row(OURS), row("a", 8.0, delta=-5.0), row("b", 9.0, delta=-0.5), row("c", 11.0), row("fp32", 40.0)]
    assert best_baseline(rows, "openvino", 1.0).tool == "b"
    assert best_baseline(rows, "openvino", 6.0).tool == "a"
    assert best_baseline(rows, "onnxruntime", 1.0) is None
    assert best_float(rows, "openvino").precision == "fp32"


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([row(OURS), row("nncf", ratio=1.2)], "OpenVINO int8 takes 1.20 times as long as nncf"),
        ([row(OURS), row("nncf", ratio=0.9), row("fp32", ratio=1.1)], "1.10 times as long as fp32"),
        ([row(OURS, score=58.0), row("nncf", ratio=0.9, score=60.0)], "2.00 points of mIoU below nncf, limit 1"),
        ([row("nncf")], "OpenVINO: ours was not measured"),
        ([row(OURS), row("fp32", ratio=0.2)], "no baseline was measured"),
        ([], "no baseline was measured"),
    ],
)
def test_gate_names_what_is_missed(rows, reason):
    assert reason in " ".join(missed_against_baselines(rows, 1.0))


def test_gate_names_the_worst_classes():
    ours = row(OURS, score=50.0, per_class={"road": 90.0, "car": 40.0, "tree": None})
    theirs = row("nncf", ratio=0.9, per_class={"road": 91.0, "car": 60.0, "tree": None})
    (reason,) = missed_against_baselines([ours, theirs], 1.0)
    assert reason.endswith("(worst classes: car −20.00, road −1.00)")


def test_gate_names_the_layers_farthest_from_fp32():
    noise = {"OpenVINO int8": [LayerSnr("/stem/Conv", "out", 4.0)]}
    (reason,) = missed_against_baselines([row(OURS, score=50.0), row("nncf", ratio=0.9)], 1.0, noise)
    assert reason.endswith("(layers with the lowest SNR: /stem/Conv 4.0 dB)")


def test_gate_passes_when_ours_holds_and_forgives_baselines_that_broke():
    rows = [row(OURS, delta=0.1), row("nncf", ratio=0.9), row("broken", ratio=2.0, delta=-30.0), row("fp32", ratio=0.3)]
    assert missed_against_baselines(rows, 1.0) == []


def test_gate_judges_each_backend_that_has_a_baseline():
    rows = [row(OURS), row("nncf", ratio=0.9), row(OURS, backend="onnxruntime"), row("fp32", backend="onnxruntime")]
    assert missed_against_baselines(rows, 1.0) == []
    rows.append(row("ort", ratio=5.0, backend="onnxruntime"))
    assert missed_against_baselines(rows, 1.0) == ["ONNX Runtime int8 takes 5.00 times as long as ort"]


def test_table_says_why_a_row_was_not_measured_or_is_no_opponent():
    rows = [
        row(OURS, score=61.0),
        row("nncf", ratio=0.9),
        row("broken", ratio=2.0, delta=-30.0),
        Row(backend="openvino", precision="bf16", status="unavailable", reason="no BF16 here"),
    ]
    stream = StringIO()
    table, found = table_of(rows, baselines(rows), left=2), comparison(*rows)
    table.print(Console(file=stream, width=200), comparison_notes(found))
    text = stream.getvalue()
    assert "OpenVINO: ours takes 0.90 [0.90, 0.90] of the time of nncf, the best baseline; mIoU +1.00 points" in text
    assert "OpenVINO bf16: unavailable: no BF16 here" in text
    assert "OpenVINO broken: no opponent: loses 30.00 points of mIoU, limit 1" in text
    assert text.rstrip().endswith("caution: the load average was 7")
    assert len({len(line) for line in table.plain()}) == 1


def test_a_comparison_that_is_missing_or_of_another_version_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_if_any(Comparison, "squares") is None
    path = comparison(row(OURS)).save()
    assert load_if_any(Comparison, "squares") is not None
    path.write_text(path.read_text().replace('"rows"', '"engines"'))
    assert load_if_any(Comparison, "squares") is None


def comparison(*rows) -> Comparison:
    return Comparison(
        run="squares",
        created="2030-01-01T00:00:00+00:00",
        command="python benchmarks/peers.py",
        config={},
        environment=describe(),
        versions={"nncf": "3.4.0"},
        val_images=5,
        calibration_images=8,
        max_drop_points=1.0,
        caveats=("the load average was 7",),
        rows=rows,
    )


def test_report_shows_the_comparison(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcomes = [built(tmp_path, "fake", "fp32"), built(tmp_path, "fake", "int8")]
    found = found_in(FakeBackend("fake", {"fp32": FakeSession(), "int8": FakeSession()}), outcomes)
    assert "Against other toolkits" not in render(found)
    compared = comparison(row(OURS, score=61.0), row("nncf-mixed", ratio=0.9, settings="nncf.quantize: preset=<mixed>"))
    compared.save()
    assert load_if_any(Comparison, "squares") == compared
    page = render(found)
    assert "Against other toolkits" in page and 'data-baseline="OpenVINO nncf-mixed"' in page
    assert "preset=&lt;mixed&gt;" in page
    assert "0.90 [0.90, 0.90] of the time of nncf-mixed, the best baseline" in page


@pytest.fixture
def command(tmp_path, monkeypatch):
    """benchmarks/peers.py with a comparison already made: a function of the options; returns the exit code."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(json.dumps(CONFIG))
    found = comparison(row(OURS), row("nncf", ratio=1.3))
    monkeypatch.setattr(compare, "compare", lambda config, families, command: found)

    def run(*options):
        monkeypatch.setattr(sys, "argv", ["peers.py", "--config", "config.yaml", *options])
        return peers.main()

    return run


def test_command_writes_and_prints_and_judges_only_when_asked(command, capsys):
    assert command() == 0
    assert "1.30 [1.30, 1.30]" in capsys.readouterr().out
    assert load_if_any(Comparison, "squares").rows[1].tool == "nncf"
    assert command("--gate") == 1
    assert "OpenVINO int8 takes 1.30 times as long as nncf" in capsys.readouterr().err


def test_command_prints_baselines_json(command, capsys):
    assert command("--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(
        (RunPaths("squares").results / "baselines.json").read_text()
    )


def test_command_refuses_a_family_nobody_knows(command, capsys):
    assert command("--baselines", "tvm") == 2
    assert "no baselines called tvm" in capsys.readouterr().err
