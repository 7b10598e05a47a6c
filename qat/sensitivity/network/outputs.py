"""Which of the things that a network returns is scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from core.errors import UserError


def logits_of(output: Any) -> Tensor:
    """The tensor that is scored: the output itself, the first of several, or "out", "logits" or the first by name."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        return logits_of(next((output[key] for key in ("out", "logits") if key in output), next(iter(output.values()))))
    if isinstance(output, list | tuple) and output:
        return logits_of(output[0])
    raise UserError(
        f"the model returns {type(output).__name__}", fix="return a tensor, or a sequence or mapping of them"
    )
