"""Doubles of the CUDA driver and NVML with given GPUs; calls and results have the form of the C libraries."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.hardware import cuda_driver

NO_DEVICE, STUB = 100, 34  # CUresult
H100, RTX_4090 = ("NVIDIA H100 80GB HBM3", (9, 0)), ("NVIDIA GeForce RTX 4090", (8, 9))
RTX_5090, T4, V100 = ("NVIDIA GeForce RTX 5090", (12, 0)), ("Tesla T4", (7, 5)), ("Tesla V100", (7, 0))
ORIN, GTX_780 = ("Orin", (8, 7)), ("GeForce GTX 780", (3, 5))
MEMORY = 24 << 30
_TEXTS = {NO_DEVICE: b"no CUDA-capable device is detected", STUB: b"CUDA driver is a stub library"}


class CudaLibrary:
    """libcuda.so.1 with `gpus`, each (name, compute capability); `status` is what `cuInit` returns."""

    def __init__(self, *gpus: tuple[str, tuple[int, int]], version: int = 13000, status: int = 0) -> None:
        self.gpus, self.version, self.status = gpus, version, status

    def cuInit(self, flags: int) -> int:
        return self.status

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = self.version
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = len(self.gpus)
        return 0

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:
        device._obj.value = ordinal
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:
        name.value = self.gpus[device.value][0].encode()
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, device: Any) -> int:
        memory._obj.value = MEMORY
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        value._obj.value = self.gpus[device.value][1][{75: 0, 76: 1}[attribute]]
        return 0

    def cuGetErrorString(self, code: int, text: Any) -> int:
        text._obj.value = _TEXTS.get(code)
        return 0


class NvmlLibrary:
    """libnvidia-ml.so.1 of a driver release."""

    def __init__(self, release: str) -> None:
        self.release = release

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlSystemGetDriverVersion(self, text: Any, size: int) -> int:
        text.value = self.release.encode()
        return 0

    def nvmlShutdown(self) -> int:
        return 0


def install(monkeypatch: pytest.MonkeyPatch, cuda: CudaLibrary | None, release: str = "", folder: str = "") -> None:
    """Make `cuda_driver` find only these libraries; `release` "" stands for a machine without NVML.

    Args:
        folder: where the CUDA library is, as WSL2 has it; "" for the loader's own folders.
    """
    libraries: dict[str, Any] = {"libcuda.so.1": cuda, "libnvidia-ml.so.1": NvmlLibrary(release) if release else None}
    there = {f"{folder}{name}": library for name, library in libraries.items() if library is not None}

    def load(name: str) -> Any:
        if name not in there:
            raise OSError(f"{name}: cannot open shared object file")
        return there[name]

    monkeypatch.setattr(cuda_driver.ctypes, "CDLL", load)
