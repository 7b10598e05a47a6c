"""What hardware is here: CPU, memory, NVIDIA GPUs, disk. Nothing but the standard library is needed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
NVIDIA_SMI_TIMEOUT_S = 20

_MEMINFO = Path("/proc/meminfo")
_TOPOLOGY = "cpu[0-9]*/topology/thread_siblings_list"


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU; `compute_capability` is "unknown" with drivers before 510."""

    name: str
    driver: str
    memory_mib: int
    compute_capability: str


def cpu_threads() -> int:
    """Logical CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_cores(devices: Path = Path("/sys/devices/system/cpu")) -> int:
    """Physical cores: logical ones that share a core list the same siblings. Off Linux, the logical ones."""
    return len({file.read_text(encoding="ascii") for file in devices.glob(_TOPOLOGY)}) or cpu_threads()


def memory_mib(meminfo: Path = _MEMINFO) -> tuple[int, int] | None:
    """Total and available memory; None off Linux."""
    if not meminfo.exists():
        return None
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB", meminfo.read_text(encoding="ascii"), re.MULTILINE))
    return int(found["MemTotal"]) // 1024, int(found["MemAvailable"]) // 1024


def disk_free_mib(folder: Path) -> int:
    """Free space where `folder` is."""
    return shutil.disk_usage(folder).free // MIB


def gpus() -> list[Gpu]:
    """The GPUs that the driver shows; empty without `nvidia-smi` or a device."""
    lines = _nvidia_smi("--query-gpu=name,driver_version,memory.total,compute_cap", "--format=csv,noheader,nounits")
    if lines is None:  # compute_cap is not known to old drivers, which then print no device at all
        lines = _nvidia_smi("--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits")
    return [_gpu(line) for line in (lines or "").splitlines() if line.strip()]


def cuda_version() -> str | None:
    """The newest CUDA that the driver supports, from the head of `nvidia-smi`; None without a driver."""
    found = re.search(r"CUDA Version: ([\d.]+)", _nvidia_smi() or "")
    return found[1] if found else None


def _gpu(line: str) -> Gpu:
    name, driver, memory, *capability = (part.strip() for part in line.split(","))
    return Gpu(name, driver, int(memory) if memory.isdigit() else 0, capability[0] if capability else "unknown")


def _nvidia_smi(*options: str) -> str | None:
    """What the tool prints; None when it is not there, fails or hangs, as it does with a broken driver."""
    if shutil.which("nvidia-smi") is None:
        return None
    try:
        answer = subprocess.run(
            ["nvidia-smi", *options], capture_output=True, text=True, check=False, timeout=NVIDIA_SMI_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return None
    return answer.stdout if answer.returncode == 0 else None
