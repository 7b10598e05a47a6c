"""Where numbers were measured: machine, packages, and the variables that change timing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from benchmarks.results import Environment
from deploy.cpu import cpu_flags, cpu_model

PACKAGES = (
    *("torch", "numpy", "onnx", "onnx-graphsurgeon", "onnxruntime", "onnxruntime-gpu", "openvino"),
    *("polygraphy", "tensorrt", "tensorrt-rtx", "pycuda", "nvidia-modelopt", "pytorch-quantization"),
)
VARIABLES = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "OMP_NUM_THREADS", "LD_PRELOAD", "CUDA_VISIBLE_DEVICES")


def describe() -> Environment:
    """Look at this machine and process."""
    return Environment(
        cpu=cpu_model(),
        cpu_flags=tuple(sorted(cpu_flags())),
        cpu_cores=_cores(),
        cpu_threads=_threads(),
        load_1min=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        gpu=_gpu(),
        os=_os(),
        python=platform.python_version(),
        packages=_versions(),
        variables={name: os.environ[name] for name in VARIABLES if name in os.environ},
    )


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cores() -> int:
    """Physical cores: logical ones that share a core list the same siblings. Off Linux, the logical ones."""
    siblings = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/thread_siblings_list")
    return len({file.read_text(encoding="ascii") for file in siblings}) or _threads()


def _gpu() -> str | None:
    """Names and driver as `nvidia-smi` gives them; None without the tool or a device."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    devices = [line.replace(", ", ", driver ") for line in answer.stdout.splitlines() if line.strip()]
    return "; ".join(devices) if answer.returncode == 0 and devices else None


def _os() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = platform.system()
    return f"{name}, {platform.system()} {platform.release()}, {platform.machine()}"


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
