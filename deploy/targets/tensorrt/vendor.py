"""TensorRT and TensorRT-RTX are two packages with one API; this module describes how they differ here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata, util
from typing import Any

from core.config.tensorrt_options import TensorrtConfig
from deploy.targets.base import Triton

Capability = tuple[int, int]
Release = tuple[int, int]


@dataclass(frozen=True)
class Vendor:
    """One of the two packages, TensorRT or TensorRT-RTX.

    Attributes:
        package: import name; also the name of the backend and of its target.
        title: the product's name for people.
        builds_on_its_gpu: the builder needs the GPU that it builds for, and times kernels on it.
        strongly_typed_since: first major version that takes precision from the graph, not from flags.
        has_kernels: returns True if a release runs on GPUs of a compute capability.
        refuse: raises `UserError` for options that only the other package has.
        triton: how Triton serves its engines; None where it does not.
    """

    package: str
    title: str
    builds_on_its_gpu: bool
    strongly_typed_since: int
    has_kernels: Callable[[Release, Capability], bool]
    refuse: Callable[[TensorrtConfig], None]
    triton: Triton | None = None

    def module(self) -> Any:
        """The package itself, imported at the call."""
        return import_module(self.package)

    def logger(self) -> Any:
        """A logger of the package that prints warnings and errors."""
        trt = self.module()
        return trt.Logger(trt.Logger.WARNING)

    def version(self) -> str:
        """`tensorrt 10.9.0` or `tensorrt_rtx 1.7.1.116`; raises `PackageNotFoundError` where it is not installed."""
        return f"{self.package} {metadata.version(self.package)}"

    def release(self) -> Release:
        """(10, 9) of 10.9.0.34."""
        return release_of(self.version().split(" ")[1])

    def strongly_typed(self) -> bool:
        """Return True if precision belongs in the graph, or if the package is not installed."""
        return util.find_spec(self.package) is None or self.release()[0] >= self.strongly_typed_since


def release_of(version: str) -> Release:
    """(10, 9) of "10.9.0.34"."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
