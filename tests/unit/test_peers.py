"""benchmarks/peers.py: build, measure in turns, compare, judge."""

import json
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import peer_build, peer_gate, peer_measure, peer_table, peers
from benchmarks.environment import describe
from benchmarks.measure import Validation
from benchmarks.peer_measure import Contender, measure, own
from benchmarks.peer_results import OURS, PeerResults, PeerRow, best_float, best_peer, load_if_any, save
from benchmarks.peer_tools.catalog import peer
from benchmarks.report import render
from benchmarks.results import Latency, LayerNoise, Speedup
from core.config import Config
from core.paths import RunPaths
from tests.unit.bench_fakes import BENCH, CLASSES, FakeBackend, FakeSession, Squares, built, prepare
from tests.unit.test_bench_run import CONFIG
from tests.unit.test_report import found_in


def row(tool, p50=10.0, ratio=None, miou=60.0, delta=0.0, backend="openvino", **more):
    """A measured row; `ratio` is ours over this one."""
    return PeerRow(
        tool=tool,
        backend=backend,
        precision="fp32" if tool == "fp32" else "int8",
        status="ok",
        latency_ms=Latency(p50=p50, p90=p50, p99=p50, mean=p50, cv=0.0),
        ours_over_this=None if ratio is None else Speedup(value=ratio, low=ratio, high=ratio),
        miou=miou,
        delta_miou=delta,
        **more,
    )


class OneBackend:
    """Bundles by folder name, so that several engines of one backend and precision can be told apart."""

    def __init__(self, sessions):
        self.sessions = sessions

    def __getattr__(self, name):
        return getattr(FakeBackend("openvino", {}), name)

    def open(self, bundle):
        return FakeBackend("openvino", {bundle.precision: self.sessions[bundle.dir.parent.name]}).open(bundle)


@pytest.fixture
def contest(tmp_path):
    """FP32, ours and a peer on one backend: their sessions by name, and a function that measures them."""
    log = []
    sessions = {
        "fp32": FakeSession("fp32", (40.0,), log=log),
        OURS: FakeSession(OURS, (9.0, 9.0, 9.6), log=log),
        "nncf-mixed": FakeSession("nncf-mixed", (10.0,), wrong_columns=2, log=log),
    }

    def run():
        contenders = [
            Contender(built(tmp_path / tool, "openvino", "fp32" if tool == "fp32" else "int8", tool.encode()), tool)
            for tool in sessions
        ]
        validation = Validation(Squares(), prepare, CLASSES, simulated=None, key="squares")
        return measure(contenders, {"openvino": OneBackend(sessions)}, validation, BENCH, tmp_path)

    return sessions, log, run


def test_all_engines_are_timed_in_turns(contest):
    sessions, log, run = contest
    run()
    counted = [entry for entry in log if entry.endswith(f" {BENCH.runs_per_round}")]
    turns = [set(counted[start : start + len(sessions)]) for start in range(0, len(counted), len(sessions))]
    assert turns == [{f"{tool} {BENCH.runs_per_round}" for tool in sessions}] * BENCH.rounds


def test_rows_have_latency_accuracy_and_the_ratio_of_ours(contest):
    rows = {found.tool: found for found in contest[2]()}
    assert list(rows) == [OURS, "nncf-mixed", "fp32"]
    assert rows["nncf-mixed"].ours_over_this.value == pytest.approx(0.9)
    assert rows["fp32"].ours_over_this.value == pytest.approx(9 / 40)
    assert rows[OURS].ours_over_this is None
    assert rows["nncf-mixed"].delta_miou < 0 == rows[OURS].delta_miou
    assert rows[OURS].convs_int8 == 1 and rows[OURS].convs_total == 2
    assert rows["fp32"].engine_size_bytes == len(b"fp32")


def test_an_unchanged_engine_is_not_scored_again(contest):
    sessions, log, run = contest
    first = run()
    log.clear()
    assert run() == first
    assert len([entry for entry in log if entry.startswith("run ")]) == len(sessions)  # the trial when it is opened


def test_bf16_takes_part_only_when_asked_for(tmp_path):
    outcomes = [built(tmp_path, "openvino", precision) for precision in ("fp32", "bf16", "int8")]
    assert [contender.tool for contender in own(outcomes, ["nncf"])] == ["fp32", OURS]
    assert [contender.tool for contender in own(outcomes, ["nncf", "bf16"])] == ["fp32", "bf16", OURS]


@pytest.fixture
def run_config(tmp_path, monkeypatch, exported):
    """A run whose float graph is there."""
    monkeypatch.chdir(tmp_path)
    paths = RunPaths("squares")
    paths.dir.mkdir(parents=True)
    paths.float_onnx.write_bytes(exported.fp32.read_bytes())
    monkeypatch.setattr(peer_build, "build_dataset", lambda data, split, *, seed: Squares())
    return Config.model_validate({**CONFIG, "deploy": {"backends": ["onnxruntime"]}})


def copies_float_graph(peer, paths, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / peer.file).write_bytes(paths.float_onnx.read_bytes())


def test_a_quantized_peer_is_a_stage(run_config, monkeypatch):
    calls = []
    monkeypatch.setattr(peer_build, "_quantize", lambda *args: (calls.append(1), copies_float_graph(*args)))
    for _ in range(2):
        (outcome,) = peer_build.ensure(run_config, [peer("ort-s8s8")])
        assert outcome.status == "ok" and outcome.bundle.precision == "int8"
    assert len(calls) == 1
    peer_build.ensure(run_config, [replace(peer("ort-s8s8"), settings={"method": "other"})])
    assert len(calls) == 2


def test_a_peer_whose_process_fails_is_a_row_with_its_last_words(run_config):
    (outcome,) = peer_build.ensure(run_config, [replace(peer("ort-s8s8"), name="no-such-peer")])
    assert outcome.status == "failed" and outcome.bundle is None
    assert "exit code 2" in outcome.reason and "no-such-peer" in outcome.reason
    assert "invalid choice" in Path("runs/squares/peers/no-such-peer/quantize.log").read_text()


def test_a_peer_that_is_not_installed_is_a_row_with_the_fix(run_config):
    (outcome,) = peer_build.ensure(run_config, [replace(peer("ort-s8s8"), imports=("no_such_toolkit",))])
    assert outcome.status == "unavailable"
    assert outcome.reason == "not installed: no_such_toolkit; fix: run `make peers`"


def test_a_model_that_the_engine_refuses_is_a_row(run_config, monkeypatch):
    monkeypatch.setattr(peer_build, "_quantize", lambda peer, paths, folder: breaks(folder / peer.file))
    (outcome,) = peer_build.ensure(run_config, [peer("ort-s8s8")])
    assert outcome.status == "failed" and outcome.bundle is None and outcome.reason


def breaks(target):
    target.parent.mkdir(parents=True)
    target.write_bytes(b"no graph")


def test_peers_go_only_to_engines_of_the_config(run_config):
    assert peer_build.ensure(run_config, [peer("nncf-mixed")]) == []


def test_best_peer_is_the_fastest_that_keeps_its_accuracy():
    rows = [row(OURS), row("a", 8.0, delta=-5.0), row("b", 9.0, delta=-0.5), row("c", 11.0), row("fp32", 40.0)]
    assert best_peer(rows, "openvino", 1.0).tool == "b"
    assert best_peer(rows, "openvino", 6.0).tool == "a"
    assert best_peer(rows, "onnxruntime", 1.0) is None
    assert best_float(rows, "openvino").tool == "fp32"


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([row(OURS), row("nncf", ratio=1.2)], "openvino ours takes 1.20 times as long as nncf"),
        ([row(OURS), row("nncf", ratio=0.9), row("fp32", ratio=1.1)], "1.10 times as long as fp32"),
        ([row(OURS, miou=58.0), row("nncf", ratio=0.9, miou=60.0)], "2.00 points of mIoU below nncf, limit 1"),
        ([row("nncf")], "openvino: ours was not measured"),
        ([row(OURS), row("fp32", ratio=0.2)], "no peer was measured"),
        ([], "no peer was measured"),
    ],
)
def test_gate_names_what_is_missed(rows, reason):
    assert reason in " ".join(peer_gate.missed(rows, 1.0))


def test_gate_names_the_worst_classes():
    ours = row(OURS, miou=50.0, per_class_iou={"road": 90.0, "car": 40.0, "tree": None})
    theirs = row("nncf", ratio=0.9, per_class_iou={"road": 91.0, "car": 60.0, "tree": None})
    (reason,) = peer_gate.missed([ours, theirs], 1.0)
    assert reason.endswith("(worst classes: car -20.0, road -1.0)")


def test_gate_names_the_layers_farthest_from_fp32():
    noise = {"openvino ours": [LayerNoise(name="/stem/Conv", snr_db=4.0)]}
    (reason,) = peer_gate.missed([row(OURS, miou=50.0), row("nncf", ratio=0.9)], 1.0, noise)
    assert reason.endswith("(layers with the lowest SNR: /stem/Conv 4.0 dB)")


def test_gate_passes_when_ours_holds_and_forgives_peers_that_broke():
    rows = [row(OURS, delta=0.1), row("nncf", ratio=0.9), row("broken", ratio=2.0, delta=-30.0), row("fp32", ratio=0.3)]
    assert peer_gate.missed(rows, 1.0) == []


def test_gate_judges_each_backend_that_has_a_peer():
    rows = [row(OURS), row("nncf", ratio=0.9), row(OURS, backend="onnxruntime"), row("fp32", backend="onnxruntime")]
    assert peer_gate.missed(rows, 1.0) == []
    rows.append(row("ort", ratio=5.0, backend="onnxruntime"))
    assert peer_gate.missed(rows, 1.0) == ["onnxruntime ours takes 5.00 times as long as ort"]


def test_table_says_what_was_not_measured_and_who_is_no_opponent():
    rows = [
        row(OURS, miou=61.0),
        row("nncf", ratio=0.9),
        row("broken", ratio=2.0, delta=-30.0),
        PeerRow(tool="bf16", backend="openvino", precision="bf16", status="unavailable", reason="no BF16 here"),
    ]
    stream = StringIO()
    peer_table.print_table(comparison(*rows), Console(file=stream, width=200))
    text = stream.getvalue()
    assert "openvino: ours takes 0.90 [0.90, 0.90] of the time of nncf, the best peer; mIoU +1.00 points" in text
    assert "openvino bf16: unavailable: no BF16 here" in text
    assert "openvino broken: no opponent: loses 30.00 points of mIoU, limit 1" in text
    assert text.rstrip().endswith("caution: the load average was 7")
    assert len({len(line) for line in peer_table.plain_lines(rows)}) == 1


def test_no_comparison_yet_is_none_and_shows_nothing(tmp_path):
    assert load_if_any(tmp_path) is None
    assert peer_table.report_section(None)["peers"] is None


def test_a_comparison_of_another_version_is_none(tmp_path):
    save(comparison(row(OURS)), tmp_path)
    (tmp_path / "peers.json").write_text((tmp_path / "peers.json").read_text().replace('"rows"', '"engines"'))
    assert load_if_any(tmp_path) is None


def comparison(*rows) -> PeerResults:
    return PeerResults(
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


def test_report_shows_the_comparison(tmp_path):
    outcomes = [built(tmp_path, "fake", "fp32"), built(tmp_path, "fake", "int8")]
    found = found_in(tmp_path, FakeBackend("fake", {"fp32": FakeSession(), "int8": FakeSession()}), outcomes)
    assert "Against other toolkits" not in render(found, tmp_path)
    compared = comparison(row(OURS, miou=61.0), row("nncf-mixed", ratio=0.9, asked="nncf.quantize: preset=<mixed>"))
    save(compared, tmp_path)
    assert load_if_any(tmp_path) == compared
    page = render(found, tmp_path)
    assert "Against other toolkits" in page and 'data-peer="openvino nncf-mixed"' in page
    assert "preset=&lt;mixed&gt;" in page
    assert "0.90 [0.90, 0.90] of the time of nncf-mixed, the best peer" in page


@pytest.fixture
def command(tmp_path, monkeypatch):
    """benchmarks/peers.py with a comparison already made: a function of the options; returns the exit code."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(json.dumps(CONFIG))
    found = comparison(row(OURS), row("nncf", ratio=1.3))
    monkeypatch.setattr(peer_measure, "compare", lambda config, families, command: found)

    def run(*options):
        monkeypatch.setattr(sys, "argv", ["peers.py", "--config", "config.yaml", *options])
        return peers.main()

    return run


def test_command_writes_and_prints_and_judges_only_when_asked(command, capsys):
    assert command() == 0
    assert "1.30 [1.30, 1.30]" in capsys.readouterr().out
    assert load_if_any(RunPaths("squares").results).rows[1].tool == "nncf"
    assert command("--gate") == 1
    assert "ours takes 1.30 times as long as nncf" in capsys.readouterr().err


def test_command_prints_peers_json(command, capsys):
    assert command("--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads((RunPaths("squares").results / "peers.json").read_text())


def test_command_refuses_a_family_nobody_knows(command, capsys):
    assert command("--peers", "tvm") == 2
    assert "no peers called tvm" in capsys.readouterr().err
