"""benchmarks/gpu_check.py: every part leaves a row, and the whole of it runs on a CPU with a small network."""

import json
import sys
import time
from pathlib import Path

import pytest

from benchmarks import gpu_check
from benchmarks.gpu_check import Part, Plan, check, parts, run_parts
from core.errors import EXIT_ENVIRONMENT, GateMissed, UnsupportedEnvironment
from core.files.paths import RunPaths
from tests.small_line import CONFIG, settings
from tests.unit.deploy.hardware.cuda_doubles import RTX_4090, CudaLibrary, install


def part(name: str, code: str, share_s: float = 20.0, read=json.loads) -> Part:
    return Part(name, [sys.executable, "-c", code], share_s, read)


def test_a_part_that_fails_crashes_or_cannot_run_is_a_row_and_the_next_one_runs():
    ok, failed, crashed, absent, unread = run_parts(
        [
            part("ok", "print('{\"a\": 1}')"),
            part("failed", "raise SystemExit('no such layer')"),
            part("crashed", "import os; os.abort()"),
            part("absent", f"import sys; print('no GPU', file=sys.stderr); sys.exit({EXIT_ENVIRONMENT})"),
            part("unread", "print('no JSON')"),
        ],
        budget_s=200,
    )
    assert (ok.status, ok.found, ok.reason) == ("ok", {"a": 1}, "")
    assert failed.status == "failed" and "no such layer" in failed.reason
    assert crashed.status == "failed" and "-6" in crashed.reason
    assert absent.status == "unavailable" and "no GPU" in absent.reason
    assert unread.status == "failed" and "JSONDecodeError" in unread.reason
    assert "raise SystemExit" in failed.command


def test_a_part_that_hangs_is_ended_with_its_children_and_leaves_the_others_their_time(tmp_path):
    child = f"import time; time.sleep(4); open({str(tmp_path / 'late')!r}, 'w')"
    hangs = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    slow = "import time; time.sleep(1.5); print('{}')"
    started = time.monotonic()
    hung, rest = run_parts([part("hangs", hangs, 2.0), part("rest", slow, 30.0)], budget_s=32)
    assert hung.status == "failed" and "not done after 2 s" in hung.reason
    assert rest.status == "ok"
    assert time.monotonic() - started < 30
    time.sleep(max(0.0, started + 5 - time.monotonic()))
    assert not (tmp_path / "late").exists()


def test_time_left_over_goes_to_later_parts():
    quick, slow = run_parts(
        [part("quick", "print('{}')", 20.0), part("slow", "import time; time.sleep(2); print('{}')", 0.1)],
        budget_s=20.1,
    )
    assert (quick.status, slow.status) == ("ok", "ok")


def test_shares_fit_the_budget_and_commands_are_this_projects(monkeypatch):
    wanted = parts(Plan())
    assert sum(part.share_s for part in wanted) <= gpu_check.BUDGET_S == 300
    assert all(Path(word).exists() for part in wanted for word in part.command if word.endswith(".py"))


def test_failures_are_written_before_the_exit_code(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu_check, "parts", lambda plan: [part("one", "print('{}')"), part("two", "1 / 0")])
    with pytest.raises(GateMissed, match="two"):
        check(Plan(), budget_s=60)
    folder = RunPaths("gpu-check").results
    found = json.loads((folder / "gpu-check.json").read_text())
    assert [row["status"] for row in found["parts"]] == ["ok", "failed"]
    section = (folder / "gpu-check.md").read_text()
    assert "ZeroDivisionError" in section and section in capsys.readouterr().out


def test_without_a_gpu_it_says_what_is_needed(monkeypatch, capsys):
    install(monkeypatch, None)
    monkeypatch.setattr("sys.argv", ["gpu_check.py"])
    assert gpu_check.main() == EXIT_ENVIRONMENT
    error = capsys.readouterr().err
    assert "needs an NVIDIA GPU" in error and "libcuda.so.1" in error and "fix: " in error


def test_a_gpu_that_pytorch_cannot_use_is_said_before_any_part_runs(monkeypatch):
    install(monkeypatch, CudaLibrary(RTX_4090))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UnsupportedEnvironment) as caught:
        gpu_check.require_gpu()
    assert "PyTorch" in caught.value.why and RTX_4090[0] in caught.value.why


@pytest.mark.slow
def test_all_parts_run_on_a_cpu_with_a_small_network(monkeypatch, tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_one.py").write_text("def test_one():\n    pass\n")
    plan = Plan(
        config=CONFIG,
        settings=(
            *(text for text in settings(tmp_path) if not text.startswith("run=")),
            "deploy.image_to_mask=[]",
            "bench.rounds=2",
            "bench.warmup_ms=0",
            "bench.throughput_ms=0",
        ),
        backend="openvino",
        precisions=("int8",),
        steps=("--precision", "fp32", "--rounds", "2", "--batch", "1", "--only", "fixed scales"),
        tests=tmp_path / "tests",
    )
    monkeypatch.chdir(tmp_path)
    found = check(plan, budget_s=1800)
    by_name = {part.name: part.found for part in found.parts}
    assert [part.status for part in found.parts] == ["ok"] * 5, [part.reason for part in found.parts]
    assert 0 <= by_name["pipeline"]["simulated_score"] <= 100
    assert {row["precision"] for row in by_name["engines"]["rows"] if row["status"] == "ok"} >= {"fp32", "int8"}
    layers = by_name["layers of OpenVINO int8"]
    assert layers["convolutions"] > layers["float_convolutions"] >= 0
    assert {row["name"] for row in by_name["training step"]["rows"]} == {"float", "fixed scales"}
    assert "1 passed" in by_name["GPU tests"]["summary"]
    section = (RunPaths("gpu-check").results / "gpu-check.md").read_text()
    for text in ("| OpenVINO int8 |", "| fixed scales | fp32 |", f"{layers['convolutions']} |", "Python 3."):
        assert text in section
