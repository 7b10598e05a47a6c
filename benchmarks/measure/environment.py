"""The environment of measurements: machine, packages, and variables that change timing."""

from __future__ import annotations

import os
import platform

from benchmarks.record.details import Environment
from core.versions import installed
from deploy.hardware import cuda_driver, machine
from deploy.hardware.cpu import cpu_flags, cpu_model

PACKAGES = (
    *("torch", "numpy", "onnx", "onnx-graphsurgeon", "onnxruntime", "onnxruntime-gpu", "openvino"),
    *("polygraphy", "tensorrt", "tensorrt-rtx", "pycuda", "nvidia-modelopt", "pytorch-quantization"),
)
VARIABLES = (
    "MALLOC_MMAP_MAX_",
    "MALLOC_TRIM_THRESHOLD_",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "LD_PRELOAD",
    "CUDA_VISIBLE_DEVICES",
)


def describe() -> Environment:
    """The present state of this machine and process."""
    return Environment(
        cpu=cpu_model(),
        cpu_flags=tuple(sorted(cpu_flags())),
        cpu_cores=machine.cpu_cores(),
        cpu_threads=machine.cpu_threads(),
        load_1min=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        gpu=_gpu(),
        os=_os(),
        python=platform.python_version(),
        packages=installed(PACKAGES),
        variables={name: os.environ[name] for name in VARIABLES if name in os.environ},
    )


def _gpu() -> str | None:
    """Names of all GPUs, and the driver; None without a GPU."""
    driver = cuda_driver.look()
    names = "; ".join(gpu.name for gpu in driver.gpus)
    return f"{names}, {driver}" if names else None


def _os() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = platform.system()
    return f"{name}, {platform.system()} {platform.release()}, {platform.machine()}"
