"""benchmarks/measure/engines.py and record/: every engine keeps its row, with its numbers or its reason."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks.measure.engines import Candidate, bundle_sha256, measure
from benchmarks.measure.environment import describe
from benchmarks.measure.validation import Validation
from benchmarks.record import gate
from benchmarks.record.details import Layer
from benchmarks.record.files import Results, load
from benchmarks.record.rows import Row, fastest_int8, find_row
from benchmarks.record.table import cells, engines, notes, signed, table_of
from core.errors import UnsupportedEnvironment, UserError
from core.files.paths import RunPaths
from deploy.checks.layer_snr import LayerSnr
from deploy.pipeline import BuildOutcome
from deploy.targets import title_of
from tests.unit.benchmarks.fakes import BENCH, CLASSES, SEGMENTATION, FakeBackend, FakeSession, Squares, built, prepare

VALIDATION = Validation(Squares(), prepare, CLASSES, SEGMENTATION, None, ["squares"])


def sessions() -> dict[str, FakeSession]:
    return {
        "fp32": FakeSession("fp32", clock=(40.0,)),
        "bf16": FakeSession("bf16", clock=(12.0,)),
        "int8": FakeSession("int8", clock=(10.0,), wrong_columns=1),
    }


def rows_of(tmp_path, outcomes, backend, validation=VALIDATION):
    candidates, folder = [Candidate(outcome) for outcome in outcomes], tmp_path / "results"
    return measure(candidates, {backend.name: backend}, validation, BENCH, folder / "accuracy.json", folder)[0]


@pytest.fixture
def three(tmp_path):
    return [built(tmp_path, "fake", precision) for precision in ("fp32", "bf16", "int8")]


def test_measured_rows_compare_with_fp32_of_their_backend(tmp_path, three):
    fp32, bf16, int8 = rows_of(tmp_path, three, FakeBackend("fake", sessions()))
    assert [row.status for row in (fp32, bf16, int8)] == ["ok"] * 3
    assert int8.speedup_vs_fp32.value == 4
    assert (int8.fastest_float, int8.speedup_vs_float.value) == ("bf16", pytest.approx(1.2))
    assert bf16.speedup_vs_float is None
    assert int8.throughput_per_s == 100
    assert (fp32.delta_score.value, fp32.speedup_vs_fp32.value) == (0, 1)
    assert int8.delta_score.value == pytest.approx(int8.score - fp32.score) and int8.delta_score.high < 0
    assert int8.agreement_fp32 < 100 == fp32.agreement_fp32
    assert (int8.convs_int8, int8.convs_total, fp32.convs_int8) == (1, 2, 0)
    assert int8.engine_size_bytes == len(b"engine")


def test_no_row_vanishes(tmp_path):
    outcomes = [
        built(tmp_path, "fake", "fp32"),
        BuildOutcome("fake", "bf16", None, "unavailable", "no AMX; fix: another CPU"),
        built(tmp_path, "fake", "int8"),
        BuildOutcome("fake", "fp16", None, "failed", "RuntimeError: no kernel"),
    ]
    fp32, bf16, int8, fp16 = rows_of(tmp_path, outcomes, FakeBackend("fake", sessions(), blocked=("int8",)))
    assert (bf16.status, bf16.reason) == ("unavailable", "no AMX; fix: another CPU")
    assert (int8.status, int8.reason) == ("unavailable", "no GPU here; fix: run on one")
    assert (int8.convs_int8, int8.latency_ms, int8.score) == (1, None, None)
    assert fp16.status == "failed"
    assert fp32.status == "ok" and fp32.latency_ms is not None


def test_an_engine_that_this_machine_cannot_load_is_unavailable_with_its_fix(tmp_path, three):
    class Refusing(FakeBackend):
        def open(self, bundle):
            raise UnsupportedEnvironment("TensorRT cannot load the engine", why="old cuda driver", fix="update it")

    for row in rows_of(tmp_path, three, Refusing("fake", sessions())):
        reason = "TensorRT cannot load the engine: old cuda driver; fix: update it"
        assert (row.status, row.reason) == ("unavailable", reason)


def test_rows_of_tensorrt_are_named_after_the_product(tmp_path, monkeypatch):
    outcomes = [built(tmp_path, "tensorrt_rtx", precision) for precision in ("fp32", "bf16", "int8")]
    fp32, bf16, int8 = rows_of(tmp_path, outcomes, FakeBackend("tensorrt_rtx", sessions()))
    assert [row.name for row in (fp32, bf16, int8)] == [f"TensorRT-RTX {p}" for p in ("fp32", "bf16", "int8")]
    assert int8.delta_score.value < 0 and int8.agreement_fp32 is not None, "compared with FP32 of the same product"
    assert (int8.speedup_vs_fp32.value, int8.fastest_float) == (4, "bf16")
    assert (cells(int8, engines([int8]))[0], int8.backend) == ("TensorRT-RTX int8", "tensorrt_rtx")


def test_an_engine_that_does_not_open_does_not_stop_the_others(tmp_path, three):
    fp32, bf16, int8 = rows_of(tmp_path, three, FakeBackend("fake", sessions(), broken=("fp32",)))
    assert (fp32.status, fp32.reason) == ("failed", "RuntimeError: plan is from another version")
    assert int8.status == "ok" and int8.speedup_vs_fp32 is None and int8.delta_score is None
    assert int8.fastest_float == "bf16"
    assert fastest_int8([fp32, bf16, int8]) is None


def test_an_engine_that_fails_on_its_first_image_does_not_stop_the_others(tmp_path, three):
    class Crashing(FakeSession):
        def run(self, feeds):
            raise ValueError("two\nlines")

    broken = FakeBackend("fake", {**sessions(), "int8": Crashing()})
    assert [row.status for row in rows_of(tmp_path, three, broken)] == ["ok", "ok", "failed"]
    assert rows_of(tmp_path, three, broken)[2].reason == "ValueError: two lines"


def test_accuracy_is_computed_again_only_for_what_changed(tmp_path, three):
    def images_seen(outcomes, validation=VALIDATION):
        backend = FakeBackend("fake", sessions())
        rows_of(tmp_path, outcomes, backend, validation)
        examples_and_first_run = {"fp32": BENCH.strip_images + 1, "bf16": 1, "int8": BENCH.strip_images + 1}
        return {
            name: sum(entry.startswith("run") for entry in session.log) - examples_and_first_run[name]
            for name, session in backend.sessions.items()
        }

    assert images_seen(three) == {"fp32": 5, "bf16": 5, "int8": 5}
    assert images_seen(three) == {"fp32": 0, "bf16": 0, "int8": 0}
    three[2] = built(tmp_path, "fake", "int8", b"another engine")
    assert images_seen(three) == {"fp32": 5, "bf16": 0, "int8": 5}, "FP32 runs as the reference"
    assert images_seen(three, replace(VALIDATION, key=["other"])) == {"fp32": 5, "bf16": 5, "int8": 5}


def test_bundle_hash_sees_content_and_manifest(tmp_path):
    one, other = built(tmp_path, "fake", "fp32"), built(tmp_path, "fake", "bf16")
    assert bundle_sha256(one.bundle.dir) != bundle_sha256(other.bundle.dir), "same weights at another precision"
    assert bundle_sha256(one.bundle.dir) == bundle_sha256(built(tmp_path, "fake", "fp32").bundle.dir)


def test_results_survive_the_file(tmp_path, three, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = RunPaths("r").results
    candidates = [Candidate(outcome) for outcome in three]
    backends = {"fake": FakeBackend("fake", sessions())}
    rows, examples = measure(candidates, backends, VALIDATION, BENCH, folder / "accuracy.json", folder)
    found = Results(
        run="r",
        command="python benchmarks/run.py",
        config={},
        environment=describe(),
        artifacts={},
        classes=(),
        val_images=5,
        rows=tuple(rows),
        examples=examples,
    )
    found.save()
    assert load("r") == found
    with pytest.raises(UserError, match="no benchmark results"):
        load("other")


def test_results_of_another_schema_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = RunPaths("r").results
    folder.mkdir(parents=True)
    (folder / "results.json").write_text('{"schema_version": 99}')
    with pytest.raises(UserError, match="cannot be read"):
        load("r")


def test_environment_names_the_machine():
    machine = describe()
    assert machine.cpu and machine.cpu_cores >= 1 and machine.cpu_threads >= 1
    assert "numpy" in machine.packages


class TestGate:
    def judged(self, tmp_path, three, *, limit=100.0, **changes):
        backend = FakeBackend("fake", {**sessions(), **changes})
        return gate.missed(rows_of(tmp_path, three, backend), limit)

    def test_passes(self, tmp_path, three):
        assert self.judged(tmp_path, three) == []

    def test_slower_than_the_fastest_float_engine(self, tmp_path, three):
        slow = FakeSession(clock=(20.0,))
        assert self.judged(tmp_path, three, int8=slow) == ["fake int8 is slower than bf16: 0.60 times its speed"]

    def test_loses_too_much(self, tmp_path, three):
        assert "points of mIoU, limit 1" in self.judged(tmp_path, three, limit=1.0)[0]

    def test_loss_names_the_classes_that_lose_most(self, tmp_path, three):
        (reason,) = self.judged(tmp_path, three, limit=1.0)
        worst = reason.partition("(worst classes: ")[2]
        assert worst.startswith("road −") and "tree" not in worst, "a class that never occurs loses nothing"

    def test_slowness_names_the_slowest_layers_that_are_not_int8(self, tmp_path, three):
        rows = rows_of(tmp_path, three, FakeBackend("fake", {**sessions(), "int8": FakeSession(clock=(20.0,))}))
        costs = [("a", "int8", 9.0), ("b", "fp32", 5.0), ("c", "bf16", 3.0), ("d", "fp32", 2.0), ("e", "fp32", 1.0)]
        layers = [Layer(name=name, kind="Conv", precision=precision, ms=ms) for name, precision, ms in costs]
        (reason,) = gate.missed(rows, 100, {"fake int8": layers, "fake fp32": layers[:1]})
        assert reason.endswith("(slowest layers not in INT8: b fp32 5.00 ms, c bf16 3.00 ms, d fp32 2.00 ms)")

    def test_loss_names_the_layers_farthest_from_fp32(self, tmp_path, three):
        noise = [LayerSnr(name, "out", db) for name, db in (("a", 3.0), ("b", 4.04), ("c", 20.0), ("d", 40.0))]
        rows = rows_of(tmp_path, three, FakeBackend("fake", sessions()))
        (reason,) = gate.missed(rows, 1.0, noise={"fake int8": noise, "fake fp32": noise[1:]})
        assert reason.endswith("; layers with the lowest SNR: a 3.0 dB, b 4.0 dB, c 20.0 dB)")

    def test_failed_engine(self, tmp_path):
        rows = [Row(backend="fake", precision="int8", status="failed", reason="boom")]
        assert gate.missed(rows, 1.0) == ["fake int8 failed: boom"]

    def test_nothing_measured(self, tmp_path):
        rows = [Row(backend="fake", precision="int8", status="unavailable", reason="no GPU")]
        assert gate.missed(rows, 1.0) == ["no INT8 engine was measured"]

    def test_no_float_engine_to_compare_with(self, tmp_path, three):
        reasons = gate.missed(rows_of(tmp_path, three[2:], FakeBackend("fake", sessions())), 100)
        assert reasons == ["fake int8 has no float engine of the same backend to be compared with"]

    def test_int8_in_name_only(self, tmp_path, three):
        rows = rows_of(tmp_path, three, FakeBackend("fake", sessions()))
        rows[2] = rows[2].model_copy(update={"convs_int8": 0})
        assert gate.missed(rows, 100) == ["fake int8 runs no convolution in INT8"]


class TestTable:
    def printed(self, rows, *, terminal):
        out = io.StringIO()
        console = Console(file=out, force_terminal=terminal, width=200)
        table_of(rows, engines(rows)).print(console, notes(rows, []))
        return out.getvalue()

    @pytest.mark.parametrize("terminal", [True, False])
    def test_shows_every_row_and_reason(self, tmp_path, three, terminal):
        outcomes = [*three, BuildOutcome("tensorrt", "int8", None, "unavailable", "no driver [see docs]")]
        text = self.printed(rows_of(tmp_path, outcomes, FakeBackend("fake", sessions())), terminal=terminal)
        for name in (
            "fake fp32",
            "fake bf16",
            "fake int8",
            f"{title_of('tensorrt')} int8: unavailable: no driver [see docs]",
        ):
            assert name in text
        assert "4.00× [4.00, 4.00]" in text

    def test_plain_columns_line_up(self, tmp_path, three):
        text = self.printed(rows_of(tmp_path, three, FakeBackend("fake", sessions())), terminal=False)
        assert len({len(line) for line in text.splitlines()}) == 1
        assert "\x1b" not in text

    def test_unmeasured_cells_are_dashes(self):
        row = Row(backend="tensorrt", precision="int8", status="unavailable", reason="no driver")
        assert set(cells(row, engines([row]))[1:]) == {"–"}

    def test_sign_is_never_on_zero(self):
        assert [signed(value) for value in (0.5, -0.5, -0.001, 0.0)] == ["+0.50", "−0.50", "0.00", "0.00"]


def test_find_row(tmp_path, three):
    rows = rows_of(tmp_path, three, FakeBackend("fake", sessions()))
    assert find_row(rows, "fake", "int8") is rows[2]
    assert find_row(rows, "other", "int8") is None
    assert fastest_int8(rows) is rows[2]


def test_engines_that_are_missing_for_one_reason_take_one_line():
    rows = [
        Row(backend="tensorrt", precision=precision, status="unavailable", reason="no GPU", product="TensorRT")
        for precision in ("fp32", "fp16", "int8")
    ]
    assert notes(rows, ["a caveat"]) == ["TensorRT fp32, fp16, int8: unavailable: no GPU", "caution: a caveat"]
