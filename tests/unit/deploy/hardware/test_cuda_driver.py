"""GPUs come from the CUDA driver's list; tested with doubles and with a compiled library."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measure import environment
from deploy.hardware.cuda_driver import Gpu, look
from tests.unit.deploy.hardware.cuda_doubles import H100, NO_DEVICE, ORIN, RTX_4090, STUB, CudaLibrary, install

ROOT = Path(__file__).parents[4]
CC = shutil.which("cc")

# The signatures are those of cuda.h; the compiler checks them where CUDA's headers are installed.
SOURCE = """
#if __has_include(<cuda.h>)
#include <cuda.h>
#else
typedef int CUresult; typedef int CUdevice; typedef int CUdevice_attribute; typedef __SIZE_TYPE__ size_t;
#endif
CUresult cuInit(unsigned int flags) { return 0; }
CUresult cuDriverGetVersion(int *version) { *version = 12040; return 0; }
CUresult cuDeviceGetCount(int *count) { *count = 1; return 0; }
CUresult cuDeviceGet(CUdevice *device, int ordinal) { *device = ordinal; return 0; }
CUresult cuDeviceGetName(char *name, int size, CUdevice device) {
    const char *text = "NVIDIA H100 PCIe"; int at = 0;
    while (at + 1 < size && text[at]) { name[at] = text[at]; at++; }
    name[at] = 0; return 0;
}
CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) { *bytes = 85899345920; return 0; }
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
    *value = attribute == 75 ? 9 : attribute == 76 ? 0 : -1; return 0;
}
CUresult cuGetErrorString(CUresult error, const char **text) { *text = "unused"; return 0; }
"""


def test_gpus_and_driver_of_a_workstation(monkeypatch):
    install(monkeypatch, CudaLibrary(RTX_4090, H100), release="580.65.06")
    found = look()
    assert found.gpus == (Gpu(RTX_4090[0], 24576, "8.9"), Gpu(H100[0], 24576, "9.0"))
    assert (found.cuda, found.release, found.problem) == ((13, 0), "580.65.06", "")
    assert environment.describe().gpu == f"{RTX_4090[0]}; {H100[0]}, driver 580.65.06, CUDA up to 13.0"


def test_without_a_driver_the_problem_names_the_library(monkeypatch):
    install(monkeypatch, None)
    found = look()
    assert found.gpus == () and found.cuda is None
    assert "libcuda.so.1" in found.problem and "--gpus all" in found.fix
    assert environment.describe().gpu is None


@pytest.mark.parametrize(
    ("status", "text"),
    [(NO_DEVICE, "no CUDA-capable device is detected"), (STUB, "stub library"), (999, "unknown error")],
)
def test_a_driver_that_does_not_start_is_quoted(monkeypatch, status, text):
    install(monkeypatch, CudaLibrary(H100, status=status), release="550.54.15")
    found = look()
    assert found.gpus == () and found.cuda == (13, 0)
    assert text in found.problem and f"error {status}" in found.problem and found.fix


def test_hidden_gpus_are_no_gpus(monkeypatch):
    install(monkeypatch, CudaLibrary())
    assert look().gpus == () and "CUDA_VISIBLE_DEVICES" in look().fix


def test_wsl2_has_its_library_in_a_folder_of_its_own(monkeypatch):
    install(monkeypatch, CudaLibrary(RTX_4090), release="581.15", folder="/usr/lib/wsl/lib/")
    assert [gpu.compute_capability for gpu in look().gpus] == ["8.9"]
    assert look().release == "581.15"


def test_jetson_has_neither_nvml_nor_nvidia_smi(monkeypatch):
    install(monkeypatch, CudaLibrary(ORIN, version=12060))
    monkeypatch.setenv("PATH", "")
    assert look().gpus == (Gpu("Orin", 24576, "8.7"),)
    assert str(look()) == "CUDA up to 12.6"


@pytest.mark.skipif(CC is None or sys.platform != "linux", reason="needs a C compiler on Linux")
def test_doctor_on_a_compiled_driver_says_which_engines_cannot_run(tmp_path):
    (tmp_path / "cuda.c").write_text(SOURCE)
    include = ["-I/usr/local/cuda/include"] if Path("/usr/local/cuda/include/cuda.h").is_file() else []
    library = tmp_path / "libcuda.so.1"
    built = subprocess.run(
        [CC, "-shared", "-fPIC", *include, "-o", library, tmp_path / "cuda.c"], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    done = subprocess.run(
        [sys.executable, "-m", "deploy", "doctor", "--json"],
        cwd=ROOT,
        env=os.environ | {"LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert found["GPU"]["detail"].startswith("NVIDIA H100 PCIe, 81920 MiB, compute capability 9.0, ")
    assert "CUDA up to 12.4" in found["GPU"]["detail"]
    rows = [finding for name, finding in found.items() if name.startswith("TensorRT")]
    assert rows and all(finding["state"] != "ok" and finding["fix"] for finding in rows)
