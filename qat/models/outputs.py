"""Outputs of a network: selects the deployed one, and resizes logits to the size of the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from core.errors import UserError

Key = int | str | None  # position in a sequence or key in a mapping, as `model.output` says


def head_of(outputs: Any, key: Key = None) -> Any:
    """The output that `key` names; where there is only one, itself.

    Args:
        outputs: one value, or a sequence or mapping of heads. A network may return one value in evaluation and heads
            in training: `key` is only used where there are several.

    Raises:
        UserError: there are several and `key` is None, or names none of them.
    """
    if isinstance(outputs, Mapping):
        names: Sequence[Any] = list(outputs)
    elif isinstance(outputs, list | tuple):
        names = range(len(outputs))
    else:
        return outputs
    if len(names) == 1:
        return head_of(outputs[names[0]])
    if isinstance(outputs, Mapping) and key is not None and key not in outputs and str(key) in map(str, outputs):
        key = next(name for name in outputs if str(name) == str(key))
    if key not in names:
        listed = ", ".join(str(name) for name in names)
        raise UserError(
            f"the network returns {len(names)} outputs" if key is None else f"model.output: {key} is not an output",
            why=f"they are {listed}; one of them is evaluated and deployed",
            fix=f"set model.output to one of {listed}",
        )
    return outputs[key]


def upsample(logits: Tensor, label: Tensor | NDArray[Any]) -> Tensor:
    """Logits (N, C, h, w) as float32 at the (H, W) of `label`, bilinear with aligned corners."""
    return F.interpolate(logits.float(), size=label.shape[-2:], mode="bilinear", align_corners=True)
