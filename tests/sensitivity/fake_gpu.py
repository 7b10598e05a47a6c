"""An analysis on a device that is none: tensors that compute on the CPU, say that they are elsewhere, and never mix.

Run as a program, `python -m tests.sensitivity.fake_gpu config.yaml`: it changes PyTorch for the whole process. It shows
that everything is moved where it is needed, not what a GPU computes.
"""

from __future__ import annotations

import json
import sys
from functools import partial, wraps
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map_only

GPU = "fakegpu:0"
aten = torch.ops.aten


class Elsewhere(Tensor):
    """A tensor on the device; `value` is what it holds."""

    value: Tensor

    @staticmethod
    def __new__(cls, value: Tensor) -> Elsewhere:
        layout = {"strides": value.stride(), "storage_offset": value.storage_offset(), "dtype": value.dtype}
        made: Elsewhere = Tensor._make_wrapper_subclass(cls, value.shape, device=torch.device(GPU), **layout)  # type: ignore[attr-defined]
        made.value = value
        return made

    def tolist(self) -> Any:
        """PyTorch has none for subclasses."""
        return self.value.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


class FakeGpu(TorchDispatchMode):
    """Within the context tensors can be moved to the device and made there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What `func` gives, computed on the CPU and put where it belongs.

    Raises:
        RuntimeError: operands on both devices, scalars aside.
    """
    tensors = [item for item in tree_flatten((args, kwargs))[0] if isinstance(item, Tensor)]
    there = [item for item in tensors if isinstance(item, Elsewhere)]
    target = kwargs.get("device")
    moves = func is aten.copy_.default or (func is aten._to_copy.default and target is not None)
    if there and not moves and any(item.ndim and not isinstance(item, Elsewhere) for item in tensors):
        raise RuntimeError(f"Expected all tensors to be on the same device: {func}")
    if target is not None:
        result_there = str(target) == GPU
        kwargs = {**kwargs, "device": "cpu"}
    else:
        result_there = isinstance(args[0], Elsewhere) if func is aten.copy_.default else bool(there)
    plain_args, plain_kwargs = tree_map_only(Elsewhere, lambda item: item.value, (args, kwargs))
    result = func(*plain_args, **plain_kwargs)
    if func._schema.name.endswith("_"):
        return args[0]
    return tree_map_only(Tensor, Elsewhere, result) if result_there else result


def below(func: Any, *args: Any, **kwargs: Any) -> Any:
    """`computed` for calls that do not pass the dispatch mode."""
    return computed(func, args, kwargs)


def main() -> None:
    """Analyse with `device: auto` and print what was found, and where."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend("fakegpu")
    library = torch.library.Library("aten", "IMPL")  # what torch.tensor(…, device=…) calls behind the dispatch mode
    for name in ("empty_strided", "copy_"):
        library.impl(name, partial(below, getattr(aten, name).default), "PrivateUse1")

    export = torch.onnx.export

    @wraps(export)
    def exported(*args: Any, **kwargs: Any) -> None:
        with _disable_current_modes():  # the exporter's tracer and a dispatch mode do not go together
            export(*args, **kwargs)

    torch.onnx.export = exported
    from qat.sensitivity import load
    from qat.sensitivity.config import load_sensitivity_config
    from qat.sensitivity.finish import finish
    from qat.sensitivity.pipeline import analyse
    from qat.sensitivity.user import device
    from qat.tracing.inputs import device_of

    device.gpu = lambda: torch.device(GPU)
    with FakeGpu():
        analysis = analyse(load_sensitivity_config(Path(sys.argv[1])))
        found = finish(analysis)
        loaded = load(found.model, analysis.user.model().to(GPU))
    print(
        json.dumps(
            {
                "device": str(device_of(analysis.subject.model)),
                "loaded": sorted(
                    {str(value.device) for value in loaded.state_dict().values() if hasattr(value, "device")}
                ),
                "ranking": [score.unit for score in found.ranking.units],
                "losses": [found.baseline.float_loss, found.baseline.quantized_loss],
                "engine": found.engine and [found.engine["loss"], found.engine["simulated_loss"]],
                "recovered": found.recovered and found.recovered["steps"],
                "notes": list(found.notes),
            }
        )
    )


if __name__ == "__main__":
    main()
