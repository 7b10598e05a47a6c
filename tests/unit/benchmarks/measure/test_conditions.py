"""benchmarks/measure/conditions.py: reads the system's numbers correctly and reports unusual conditions."""

import pytest

from benchmarks.measure import conditions
from benchmarks.measure.environment import describe
from benchmarks.record.details import Environment, MachineState
from benchmarks.record.rows import Latency, Row


def state(**changes) -> MachineState:
    quiet = dict(at_s=10.0, load_1min=0.1, cpu_mhz=2500.0, gpu_mhz=None, process_threads=4, own_cpu_s=1, busy_cpu_s=50)
    return MachineState(**{**quiet, **changes})


def machine(load: float) -> Environment:
    return describe().model_copy(update={"load_1min": load, "cpu_threads": 2})


def row(cv: float = 0.01, drift: float = 0.0) -> Row:
    latency = Latency(p50=1, p90=1, p99=1, mean=1, cv=cv, drift=drift)
    return Row(backend="fake", precision="int8", status="ok", latency_ms=latency)


def test_looking_twice_gives_times_that_only_grow():
    first, second = conditions.look(), conditions.look()
    assert first.at_s <= second.at_s and first.own_cpu_s <= second.own_cpu_s


def test_own_work_is_not_counted_as_others():
    found = conditions.between(state(), state(at_s=20.0, own_cpu_s=11, busy_cpu_s=65))
    assert found.others_cpus == 0.5, "15 CPU seconds in 10, 10 of them ours"
    assert conditions.between(state(), state(at_s=20.0, own_cpu_s=11, busy_cpu_s=59)).others_cpus == 0


def test_without_proc_nothing_is_claimed(tmp_path):
    assert conditions.between(state(busy_cpu_s=None), state(at_s=20.0)).others_cpus is None
    assert conditions.busy_cpu_s(tmp_path / "stat") is None
    assert conditions.cpu_mhz(tmp_path, tmp_path / "cpuinfo") is None


def test_guest_time_is_not_counted_twice(tmp_path, monkeypatch):
    (tmp_path / "stat").write_text("cpu  100 10 50 900 30 1 2 3 40 5\ncpu0 1 2 3\n")
    monkeypatch.setattr(conditions.os, "sysconf", lambda name: 100)
    assert conditions.busy_cpu_s(tmp_path / "stat") == pytest.approx((100 + 10 + 50 + 1 + 2 + 3) / 100)


def test_clock_comes_from_cpufreq_else_from_cpuinfo(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor : 0\ncpu MHz\t\t: 2000.4\nprocessor : 1\ncpu MHz\t\t: 3000.4\n")
    assert conditions.cpu_mhz(tmp_path, tmp_path / "cpuinfo") == 2500
    for cpu, khz in (("cpu0", 3_400_000), ("cpu1", 3_600_000)):
        (tmp_path / cpu / "cpufreq").mkdir(parents=True)
        (tmp_path / cpu / "cpufreq" / "scaling_cur_freq").write_text(f"{khz}\n")
    assert conditions.cpu_mhz(tmp_path, tmp_path / "cpuinfo") == 3500


def test_unsteady_points_are_counted():
    points = [row(cv=cv).latency_ms for cv in (0.01, 0.2, 0.06)]
    assert conditions.unsteady(points)[0].endswith("at 2 of 3 points")
    assert conditions.unsteady(points[:1]) == []


def test_a_quiet_run_has_no_caveats():
    quiet = conditions.between(state(), state(at_s=20.0, own_cpu_s=11, busy_cpu_s=60))
    assert conditions.caveats([row()], quiet, machine(0.2)) == []


@pytest.mark.parametrize(
    ("rows", "after", "load", "said"),
    [
        ([row(cv=0.2)], {}, 0.0, "fake int8: runs differ by 20%"),
        ([row(drift=-0.1)], {}, 0.0, "fake int8: latency moved by -10%"),
        ([], {}, 1.5, "load average was 1.5 on 2 CPUs"),
        ([], {"busy_cpu_s": 70}, 0.0, "other processes used 2 CPUs"),
        ([], {"cpu_mhz": 2000.0}, 0.0, "the CPU clock went from 2500 to 2000 MHz"),
    ],
)
def test_each_doubt_is_said(rows, after, load, said):
    meanwhile = conditions.between(state(), state(at_s=20.0, **after))
    (only,) = conditions.caveats(rows, meanwhile, machine(load))
    assert said in only
