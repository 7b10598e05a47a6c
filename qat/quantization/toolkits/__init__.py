"""Toolkits for fake quantization in training: nvidia-modelopt's, pytorch-quantization's or this project's modules.

A toolkit is a class of quantizers. All of them share ranges, modes, learned scales and checkpoints of
`qat.quantization.quantizers.Quantizer`, so a checkpoint of one toolkit loads under another. A toolkit's class only
replaces the values and gradients at a given range.
"""

from __future__ import annotations

from collections.abc import Callable

from core.config import Config
from core.console import say
from core.errors import UnsupportedEnvironment
from core.versions import installed
from qat.processes.stages import is_main
from qat.quantization.quantizers import Quantizer
from qat.quantization.toolkits import with_modelopt, with_pytorch_quantization

AUTO = "auto"
BUILTIN = "builtin"
TOOLKITS: dict[str, Callable[[], type[Quantizer]]] = {  # in the order in which `auto` looks for them
    "modelopt": with_modelopt.load,
    "pytorch-quantization": with_pytorch_quantization.load,
    BUILTIN: lambda: Quantizer,
}
_PACKAGES = {"modelopt": "nvidia-modelopt", "pytorch-quantization": "pytorch-quantization"}


def quantizer_class(name: str) -> type[Quantizer]:
    """The class of quantizers of the toolkit that `qat.toolkit` names; its packages are imported now.

    `auto` gives this project's class: `with_toolkit_chosen` replaces `auto` before training, and any toolkit can read,
    score and export a trained network.

    Raises:
        UnsupportedEnvironment: it is not installed, or one of its imports fails.
    """
    return TOOLKITS[BUILTIN if name == AUTO else name]()


def with_toolkit_chosen(config: Config) -> Config:
    """`config` with the toolkit in place of `auto`: the first of `TOOLKITS` that can be imported. Prints the choice.

    Raises:
        UnsupportedEnvironment: the toolkit that the config names cannot be imported.
    """
    wanted = config.qat.toolkit
    if wanted == AUTO:
        chosen, missing = first_importable()
    else:
        quantizer_class(wanted)
        chosen, missing = wanted, ""
    if is_main():
        say(f"quantizers: {described(chosen)} (qat.toolkit: {wanted}{missing})")
    return config.model_copy(update={"qat": config.qat.model_copy(update={"toolkit": chosen})})


def described(name: str) -> str:
    """The toolkit's name, with its version where it is a package."""
    package = _PACKAGES.get(name, name)
    return " ".join([package, *installed([package]).values()])


def first_importable() -> tuple[str, str]:
    """Name of the chosen toolkit, and why the toolkits before it were not chosen."""
    missing = ""
    for name, load in TOOLKITS.items():
        try:
            load()
        except UnsupportedEnvironment as error:
            missing += f"; no {name}: {error.why}"
        else:
            return name, missing
    raise AssertionError("the built-in toolkit needs no package")
