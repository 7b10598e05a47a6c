"""A measured value with its 95 % interval: the one record for ratios of times, changes of accuracy and the like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Interval:
    """`value`, and the bounds `low` and `high` of its 95 % interval, all in the unit that the owner states."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """The three numbers by name."""
        return asdict(self)

    def text(self, number: Callable[[float], str] = "{:.2f}".format, unit: str = "") -> str:
        """As tables show it: `1.43× [1.40, 1.46]`.

        Args:
            number: writes each of the three numbers.
            unit: follows the value, not the bounds.
        """
        return f"{number(self.value)}{unit} [{number(self.low)}, {number(self.high)}]"


def signed(value: float) -> str:
    """Two decimals and always a sign, a true minus; no sign for a value that rounds to zero."""
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")
