"""TensorRT-RTX: it builds without a GPU, for named GPUs, and accepts only strongly typed graphs.

Its `ComputeCapability` lists its targets. Newer GPUs work as well: on a GPU that it lacks, RTX 1.7.1 logs "Supported
compute capabilities: 8.0 8.6 8.9 12.0 12.1 >12.0".
"""

from __future__ import annotations

import re
from importlib import import_module

from core.config.tensorrt_options import TensorrtConfig
from core.errors import UserError
from deploy.targets.tensorrt.backend import TRTBackend
from deploy.targets.tensorrt.vendor import Capability, Release, Vendor

PACKAGE = "tensorrt_rtx"


def has_kernels(_: Release, capability: Capability) -> bool:
    """Return True if the installed release runs on GPUs of this compute capability."""
    listed = capabilities()
    return capability in listed or capability > max(listed)


def capabilities() -> set[Capability]:
    """(8, 9) of SM89, (12, 0) of SM120; the other members of the list are not GPUs."""
    names = import_module(PACKAGE).ComputeCapability.__members__
    found = (re.fullmatch(r"SM(\d+)(\d)", name) for name in names)
    return {(int(match[1]), int(match[2])) for match in found if match}


def refuse(wanted: TensorrtConfig) -> None:
    """Raise `UserError` for options that only TensorRT has: RTX would ignore some of them silently."""
    if wanted.version_compatible:
        raise UserError(
            "deploy.tensorrt.version_compatible: not with TensorRT-RTX",
            why="its engines run in the release that built them",
            fix="leave tensorrt_rtx out of deploy.backends, or build again after each update",
        )
    if wanted.hardware_compatibility != "none":
        raise UserError(
            f"deploy.tensorrt.hardware_compatibility: {wanted.hardware_compatibility}: not with TensorRT-RTX",
            why="its engines are portable by list",
            fix="name the GPUs in deploy.tensorrt.compute_capabilities, or leave tensorrt_rtx out of deploy.backends",
        )


RTX = Vendor(
    package=PACKAGE,
    title="TensorRT-RTX",
    builds_on_its_gpu=False,
    strongly_typed_since=1,
    has_kernels=has_kernels,
    refuse=refuse,
)
BACKEND = TRTBackend(RTX)
