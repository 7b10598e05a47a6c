"""Other load of the machine while engines were timed, and reasons to doubt the numbers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.record.details import Conditions, Environment, MachineState
from benchmarks.record.rows import Latency, Timed

MAX_CV = 0.05
MAX_DRIFT = 0.03
MAX_CLOCK_CHANGE = 0.05
MAX_OTHERS_CPUS = 0.1
IDLE_FIELDS = (3, 4)  # idle and iowait, of the ten columns of /proc/stat
GUEST_FIELDS = 8  # columns from here on are also counted in user and nice

_CPUFREQ = "cpu[0-9]*/cpufreq/scaling_cur_freq"


def look() -> MachineState:
    """The state of the machine at this moment; None where the system does not report it."""
    own = os.times()
    return MachineState(
        at_s=time.monotonic(),
        load_1min=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        cpu_mhz=cpu_mhz(),
        gpu_mhz=gpu_mhz(),
        process_threads=_entries(Path("/proc/self/task")),
        own_cpu_s=own.user + own.system,
        busy_cpu_s=busy_cpu_s(Path("/proc/stat")),
    )


def between(before: MachineState, after: MachineState) -> Conditions:
    """The mean number of CPUs that other processes used between two snapshots."""
    others = None
    if before.busy_cpu_s is not None and after.busy_cpu_s is not None and after.at_s > before.at_s:
        busy = after.busy_cpu_s - before.busy_cpu_s - (after.own_cpu_s - before.own_cpu_s)
        others = round(max(0.0, busy / (after.at_s - before.at_s)), 2)
    return Conditions(before=before, after=after, others_cpus=others)


def caveats(rows: Sequence[Timed], conditions: Conditions | None, before: Environment) -> list[str]:
    """Reasons to doubt the latencies, as sentences; empty when nothing was unusual.

    Args:
        before: the machine before this project's own work began.
    """
    found = []
    for row in rows:
        latency = row.latency_ms
        if latency is not None and latency.cv > MAX_CV:
            found.append(f"{row.name}: runs differ by {latency.cv:.0%} (coefficient of variation)")
        if latency is not None and abs(latency.drift) > MAX_DRIFT:
            found.append(f"{row.name}: latency moved by {latency.drift:+.0%} from the first rounds to the last")
    load, cpus = before.load_1min, before.cpu_threads
    if load is not None and load > cpus / 2:
        found.append(f"the load average was {load:g} on {cpus} CPUs before the benchmark began")
    return found + (disturbances(conditions) if conditions else [])


def unsteady(latencies: Sequence[Latency]) -> list[str]:
    """A sentence with the number of points of a curve whose runs differ too much; empty when there are none."""
    count = sum(latency.cv > MAX_CV for latency in latencies)
    many = f"{count} of {len(latencies)} points"
    return [f"runs differ by more than {MAX_CV:.0%} (coefficient of variation) at {many}"] if count else []


def disturbances(conditions: Conditions) -> list[str]:
    """A sentence about other load between two snapshots."""
    found = []
    if conditions.others_cpus is not None and conditions.others_cpus > MAX_OTHERS_CPUS:
        found.append(f"other processes used {conditions.others_cpus:g} CPUs while engines were measured")
    before, after = conditions.before, conditions.after
    for chip, first, last in (("CPU", before.cpu_mhz, after.cpu_mhz), ("GPU", before.gpu_mhz, after.gpu_mhz)):
        if first and last and abs(last / first - 1) > MAX_CLOCK_CHANGE:
            found.append(f"the {chip} clock went from {first:.0f} to {last:.0f} MHz")
    return found


def cpu_mhz(devices: Path = Path("/sys/devices/system/cpu"), cpuinfo: Path = Path("/proc/cpuinfo")) -> float | None:
    """Mean clock of all CPUs, from cpufreq, or from cpuinfo on virtual machines, which lack cpufreq."""
    clocks = [int(file.read_text(encoding="ascii")) / 1e3 for file in devices.glob(_CPUFREQ)]
    if not clocks and cpuinfo.exists():
        text = cpuinfo.read_text(encoding="utf-8")
        clocks = [float(found) for found in re.findall(r"^cpu MHz\s*: ([\d.]+)", text, re.MULTILINE)]
    return round(sum(clocks) / len(clocks)) if clocks else None


def gpu_mhz() -> float | None:
    """Clock of the first GPU's multiprocessors, from nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--id=0", "--query-gpu=clocks.sm", "--format=csv,noheader,nounits"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    return float(answer) if answer.isdigit() else None


def busy_cpu_s(stat: Path) -> float | None:
    """Busy seconds of all CPUs together since boot; None outside Linux."""
    if not stat.exists():
        return None
    ticks = [int(word) for word in stat.read_text(encoding="ascii").splitlines()[0].split()[1:]]
    worked = sum(value for index, value in enumerate(ticks[:GUEST_FIELDS]) if index not in IDLE_FIELDS)
    return worked / os.sysconf("SC_CLK_TCK")


def _entries(folder: Path) -> int | None:
    return len(list(folder.iterdir())) if folder.exists() else None
