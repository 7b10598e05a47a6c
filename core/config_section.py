"""What every section of the config is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of all sections: frozen, and a key nobody knows is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
