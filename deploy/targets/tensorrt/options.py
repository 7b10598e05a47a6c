"""The config section `deploy.tensorrt` as options of the installed TensorRT.

Options that some releases lack are looked up by name, so that an error can list the available names.
Sources: NVIDIA TensorRT documentation, "Engine Compatibility" and "Working with Dynamic Shapes"; NVIDIA TensorRT-RTX
documentation, "CPU-Only AOT and TensorRT-RTX Engines" and "Engine Compatibility".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.config.tensorrt_options import BatchConfig, TensorrtConfig
from core.errors import UserError


def refuse(wanted: TensorrtConfig) -> None:
    """Raise `UserError` for options that only TensorRT-RTX has."""
    if wanted.compute_capabilities:
        raise UserError(
            "deploy.tensorrt.compute_capabilities: only with TensorRT-RTX",
            why="TensorRT builds for the GPU it runs on",
            fix="set deploy.tensorrt.hardware_compatibility, or leave tensorrt out of deploy.backends",
        )


def profiles(backend: Any, network: Any, batch: BatchConfig | None) -> list[Any] | None:
    """One optimisation profile over the first dimension of every input of `network`; None leaves it to Polygraphy.

    Args:
        backend: `polygraphy.backend.trt`.
        network: a parsed `INetworkDefinition`.

    Raises:
        UserError: the graph's batch is fixed.
    """
    if batch is None:
        return None
    profile = backend.Profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        first, *rest = tuple(tensor.shape)
        if first >= 0:
            raise UserError(f"deploy.tensorrt.batch: the batch of input {tensor.name} is {first} and nothing else")
        profile.add(tensor.name, *((count, *rest) for count in (batch.min, batch.opt, batch.max)))
    return [profile]


def compatibility(trt: Any, wanted: TensorrtConfig) -> dict[str, Any]:
    """Arguments of Polygraphy's `CreateConfig` for optimization effort and engine compatibility."""
    arguments: dict[str, Any] = {}
    if wanted.optimization_level is not None:
        arguments["builder_optimization_level"] = wanted.optimization_level
    if wanted.version_compatible:
        _named(trt.BuilderFlag, "VERSION_COMPATIBLE", "version_compatible")
        arguments["version_compatible"] = True
    if wanted.hardware_compatibility != "none":
        level = wanted.hardware_compatibility.upper()
        levels = getattr(trt, "HardwareCompatibilityLevel", None)
        arguments["hardware_compatibility_level"] = _named(levels, level, "hardware_compatibility")
    return arguments


def set_targets(trt: Any, config: Any, capabilities: Sequence[str]) -> None:
    """Let an `IBuilderConfig` of TensorRT-RTX build for these compute capabilities; an empty list keeps its own choice.

    Raises:
        UserError: TensorRT-RTX does not build for one of them.
    """
    if not capabilities:
        return
    names = [f"SM{capability.replace('.', '')}" for capability in dict.fromkeys(capabilities)]
    targets = [_named(trt.ComputeCapability, name, "compute_capabilities") for name in names]
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        if not config.set_compute_capability(target, index):
            raise UserError(f"deploy.tensorrt.compute_capabilities: TensorRT-RTX does not take {names[index]}")


def _named(holder: Any, name: str, option: str) -> Any:
    found = getattr(holder, name, None)
    if found is None:
        known = ", ".join(getattr(holder, "__members__", ())) or "nothing of the kind"
        raise UserError(
            f"deploy.tensorrt.{option}: this TensorRT has no {name}",
            why=f"it has {known}",
            fix="change the option, or install a version that has it",
        )
    return found
