"""Whose arithmetic fake-quantizes while training: ours, nvidia-modelopt's or pytorch-quantization's.

What a toolkit is to the rest of the line is a class of quantizers. Ranges, modes, learned scales and what goes into
checkpoints are `qat.quantizers.Quantizer`'s for all of them, so placement, calibration, the three approaches and export
know nothing of toolkits, and a checkpoint of one loads under another. A toolkit's class replaces one thing: the values
and gradients at a range that is given.
"""

from __future__ import annotations

from collections.abc import Callable

from qat.quantizers import Quantizer
from qat.toolkits import with_modelopt, with_pytorch_quantization

TOOLKITS: dict[str, Callable[[], type[Quantizer]]] = {
    "builtin": lambda: Quantizer,
    "modelopt": with_modelopt.load,
    "pytorch-quantization": with_pytorch_quantization.load,
}


def quantizer_class(name: str) -> type[Quantizer]:
    """The class of quantizers of the toolkit that `qat.toolkit` names; its packages are imported now.

    Raises:
        UnsupportedEnvironment: it is not installed, or lacks something that it imports.
    """
    return TOOLKITS[name]()
