"""The rows of the QAT table, each as changes to one config."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from core.errors import UserError

Kind = Literal["fp32", "fp32_extra", "ptq", "qat"]
FORMS = "fp32, fp32_extra, ptq:METHOD, ptq:percentile:VALUE, qat:APPROACH; each may end in +key=value"


@dataclass(frozen=True)
class RowSpec:
    """One row.

    Attributes:
        name: as given on the command line, and as tables show it.
        overrides: `a.b=c` changes to the run's config.
        trains: True if the row has optimizer steps, so that its seed matters.
    """

    name: str
    kind: Kind
    overrides: tuple[str, ...] = ()

    @property
    def trains(self) -> bool:
        return self.kind in ("fp32_extra", "qat")

    def run(self, base: str, seed: int) -> str:
        """Name of the run that makes this row, derived from the config's."""
        slug = re.sub(r"[^a-z0-9_.]+", "-", self.name.lower()).strip("-")
        return f"{base}-{slug}-seed{seed}" if self.trains else f"{base}-{slug}"


def parse(text: str) -> RowSpec:
    """Parse a row of `--rows`, such as `ptq:percentile:99.9` or `qat:direct+qat.lr=2e-4+qat.ema_decay=0.99`.

    Raises:
        UserError: the text has none of the forms in `FORMS`.
    """
    form, *changes = text.split("+")
    kind, *arguments = form.split(":")
    own: tuple[str, ...] = ("qat.keep=last",)  # the row shows the trained network
    if kind in ("fp32", "fp32_extra") and not arguments:
        pass
    elif kind == "ptq" and len(arguments) in (1, 2):
        own += "qat.approach=calibrate", "qat.epochs=0", f"qat.calibration.method={arguments[0]}"
        own += tuple(f"qat.calibration.percentile={value}" for value in arguments[1:])
    elif kind == "qat" and len(arguments) == 1:
        own += (f"qat.approach={arguments[0]}",)
    else:
        raise UserError(f"no row {text!r}", fix=f"rows: {FORMS}")
    kinds: dict[str, Kind] = {"fp32": "fp32", "fp32_extra": "fp32_extra", "ptq": "ptq", "qat": "qat"}
    return RowSpec(text, kinds[kind], (*own, *changes))
