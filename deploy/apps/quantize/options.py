"""The user's options of `python -m deploy quantize`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.config import ActivationCalibrator
from core.errors import UserError

Fit = Literal["stretch", "crop"]
Layout = Literal["NCHW", "NHWC"]
MOST_PICTURES = 100  # used where the user names no number
_SIZE = re.compile(r"(?:1,3,|3,)?(\d+)[x,](\d+)")


@dataclass(frozen=True)
class Normalization:
    """The network sees `(x / 255 - mean) / std` of each channel; one value serves all channels."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    name: str = ""

    def of(self, channels: int) -> Normalization:
        """One value for each channel; a grey picture gets the average of a preset's three.

        Raises:
            UserError: the user's own numbers are of another number of channels.
        """
        if len(self.mean) in (1, channels) and len(self.std) in (1, channels):
            mean, std = (part * (channels if len(part) == 1 else 1) for part in (self.mean, self.std))
            return Normalization(mean, std, self.name)
        if not self.name:
            raise UserError(
                f"--mean and --std have {len(self.mean)} and {len(self.std)} numbers",
                why=f"the network takes {channels} channel{'s' if channels > 1 else ''}",
                fix="give one number, or one for each channel",
            )
        averages = [(sum(part) / len(part),) for part in (self.mean, self.std)]
        return Normalization(averages[0], averages[1], f"{self.name}, averaged over the channels")

    def __str__(self) -> str:
        mean, std = (", ".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        return f"{self.name + ': ' if self.name else ''}(x / 255 - [{mean}]) / [{std}]"


# Sources: torchvision documentation, "Models and pre-trained weights" (imagenet); MobileNet's and EfficientNet-Lite's
# published preprocessing (minus1to1); the others say what they do.
PRESETS = {
    "imagenet": Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "imagenet"),
    "minus1to1": Normalization((0.5,), (0.5,), "minus1to1"),
    "0to1": Normalization((0.0,), (1.0,), "0to1"),
    "0to255": Normalization((0.0,), (1 / 255,), "0to255"),
    "camvid": Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "camvid"),
}
DEFAULT_PRESET = "imagenet"
DEFAULT_SNR_DB = 10.0  # noise of a tenth of the output's power: below it a network seldom decides as FP32 does


@dataclass(frozen=True)
class Options:
    """The command's arguments; see `python -m deploy quantize --help`."""

    source: Path
    data: Path
    out: Path
    labels: Path | None = None
    targets: Sequence[str] = ()
    tolerance: float | None = None
    snr_db: float = DEFAULT_SNR_DB
    preset: str | None = None
    mean: Sequence[float] = ()
    std: Sequence[float] = ()
    bgr: bool = False
    size: tuple[int, int] | None = None
    layout: Layout | None = None
    fit: Fit = "stretch"
    pictures: int | None = None
    calibrator: ActivationCalibrator | None = None
    threads: int = 1
    rounds: int = 10
    skip: Sequence[str] = ()

    def normalization(self) -> Normalization:
        """The preset, or the user's own numbers.

        Raises:
            UserError: both or half of one are given, or `std` is not positive.
        """
        if not self.mean and not self.std:
            return PRESETS[self.preset or DEFAULT_PRESET]
        if self.preset or not (self.mean and self.std):
            raise UserError("--mean and --std go together, and not with --preset", fix=f"presets: {', '.join(PRESETS)}")
        if min(self.std) <= 0:
            raise UserError(
                f"--std {' '.join(map(str, self.std))}",
                why="a standard deviation is above zero",
                fix="give positive numbers",
            )
        return Normalization(tuple(self.mean), tuple(self.std))


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from `224x224`, `224,224` or `1,3,224,224`.

    Raises:
        ValueError: another form, or a side of zero.
    """
    found = _SIZE.fullmatch(text.replace(" ", ""))
    if found is None or not all(int(side) for side in found.groups()):
        raise ValueError(f"{text!r} is not HxW or 1,3,H,W")
    return int(found.group(1)), int(found.group(2))
