"""The hardware of this machine: CPU, memory, disk. For NVIDIA GPUs see `deploy.hardware.cuda_driver`."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from core.errors import UserError

MIB = 1 << 20

_MEMINFO = Path("/proc/meminfo")
_TOPOLOGY = "cpu[0-9]*/topology/thread_siblings_list"


def cpu_threads() -> int:
    """Logical CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_threads(count: int, what: str, fix: str) -> None:
    """Raise `UserError` for more threads than CPUs: vendors' libraries hang with thousands of threads."""
    if count > cpu_threads():
        raise UserError(f"{what}: {count} threads are too many", f"this process may use {cpu_threads()} CPUs", fix)


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
    """Free space on the disk of `folder`."""
    return shutil.disk_usage(folder).free // MIB
