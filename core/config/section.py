"""What every section of the config is."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]  # what it means is decided in qat/device.py


class Section(BaseModel):
    """Base of all sections: frozen, numbers are finite, and a key nobody knows is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def require_order(scale_min: float, scale_max: float) -> None:
    """Raise `ValueError`, for a validator, unless images can be scaled from one to the other."""
    if scale_min > scale_max:
        raise ValueError(f"`scale_min` {scale_min:g} is above `scale_max` {scale_max:g}")
