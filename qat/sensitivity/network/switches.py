"""One on/off switch for each quantizer, whoever made it; weights and ranges are never touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import nn

from qat.quantization.quantizers import Mode, Quantizer
from qat.sensitivity.network.foreign import is_of_weight, is_on


@dataclass(frozen=True)
class Switch:
    """A quantizer that can be turned on, off, and back to how it was found.

    Attributes:
        path: module path of the quantizer.
        part: what it quantizes.
        turn: sets it on (True) or off.
        saved: returns a function that restores the state of now.
    """

    path: str
    part: Literal["weight", "activation"]
    turn: Callable[[bool], None]
    saved: Callable[[], Callable[[], None]]


def switches(model: nn.Module) -> dict[str, Switch]:
    """Switches by module path, of all quantizers that are in use; one that its owner disabled stays so."""
    found: dict[str, Switch] = {}
    for path, module in model.named_modules():
        if isinstance(module, Quantizer):
            if module.is_set:
                found[path] = _ours(path, module)
        elif is_on(module):
            found[path] = _foreign(path, module)
    return found


@contextmanager
def restored(switches: dict[str, Switch]) -> Iterator[None]:
    """Within the context switches may be turned; after it they are as before."""
    undo = [switch.saved() for switch in switches.values()]
    try:
        yield
    finally:
        for restore in undo:
            restore()


def _ours(path: str, quantizer: Quantizer) -> Switch:
    def change(mode: Mode) -> None:
        if quantizer.mode is not mode:  # a probe changes few of hundreds
            quantizer.set_mode(mode)

    def saved() -> Callable[[], None]:
        return partial(change, quantizer.mode)

    def turn(on: bool) -> None:
        change(Mode.QUANTIZE if on else Mode.FLOAT)

    return Switch(path, "activation" if quantizer.axis is None else "weight", turn, saved)


def _foreign(path: str, quantizer: Any) -> Switch:
    def saved() -> Callable[[], None]:
        disabled = bool(getattr(quantizer, "_disabled", False))
        return quantizer.disable if disabled else quantizer.enable

    def turn(on: bool) -> None:
        (quantizer.enable if on else quantizer.disable)()

    of_weight = is_of_weight(path) or getattr(quantizer, "axis", None) is not None
    return Switch(path, "weight" if of_weight else "activation", turn, saved)
