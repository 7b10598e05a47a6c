"""One on/off switch for each quantizer of any toolkit; weights and ranges never change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from qat.quantization.quantizers import Mode, Quantizer
from qat.sensitivity.network.foreign import is_of_weight, is_on


@dataclass(frozen=True)
class Switch:
    """The switch of one quantizer: on, off, and back to its original state.

    Attributes:
        path: module path of the quantizer.
        part: the kind of tensor that it quantizes.
    """

    path: str
    part: Literal["weight", "activation"]
    quantizer: Any

    def turn(self, on: bool) -> None:
        """Quantize, or pass the input through."""
        if isinstance(self.quantizer, Quantizer):
            self.restore(Mode.QUANTIZE if on else Mode.FLOAT)
        else:
            (self.quantizer.enable if on else self.quantizer.disable)()

    def state(self) -> Mode | bool:
        """The present state, for `restore`."""
        own = self.quantizer
        return own.mode if isinstance(own, Quantizer) else not getattr(own, "_disabled", False)

    def restore(self, state: Mode | bool) -> None:
        """Restore a `state`."""
        if isinstance(state, bool):
            self.turn(state)
        elif self.quantizer.mode is not state:  # a trial changes few of several hundred switches
            self.quantizer.set_mode(state)


def switches(model: nn.Module) -> dict[str, Switch]:
    """Switches by module path, of all quantizers in use; quantizers that their owner disabled stay off."""
    found: dict[str, Switch] = {}
    for path, module in model.named_modules():
        if isinstance(module, Quantizer):
            if module.is_set:
                found[path] = Switch(path, "activation" if module.axis is None else "weight", module)
        elif is_on(module):
            of_weight = is_of_weight(path) or getattr(module, "axis", None) is not None
            found[path] = Switch(path, "weight" if of_weight else "activation", module)
    return found


@contextmanager
def restored(switches: Mapping[str, Switch]) -> Iterator[None]:
    """A context in which switches may change; afterwards their states are restored."""
    before = [(switch, switch.state()) for switch in switches.values()]
    try:
        yield
    finally:
        for switch, state in before:
            switch.restore(state)
