"""The base class of config sections."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]  # qat/device.py interprets the value


class Section(BaseModel):
    """Base of all sections: frozen, with finite numbers; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def require_order(scale_min: float, scale_max: float) -> None:
    """Raise `ValueError`, for a validator, unless images can be scaled from one size to the other."""
    if scale_min > scale_max:
        raise ValueError(f"`scale_min` {scale_min:g} is above `scale_max` {scale_max:g}")
