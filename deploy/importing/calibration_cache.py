"""Read a TensorRT calibration cache: the ranges that TensorRT 10 and earlier quantized by.

    TRT-8601-EntropyCalibration2
    image: 3ccf0b2c
    conv1: 3d91d0b3

The first line names the version and the calibrator. Each other line is a tensor and its scale, amax / 127, as the eight
hexadecimal digits of a float32, the most significant first. Source: NVIDIA TensorRT documentation, "Post-Training
Quantization Using Calibration" (caches), and NVIDIA's sample converters of such files.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import UserError
from deploy.plan.scale import Scale

_HEADER = re.compile(r"TRT-(\d+)-(\w+)")
_LINE = re.compile(r"(.+): ([0-9a-fA-F]{8})")
_FIX = "give the file that IInt8Calibrator::writeCalibrationCache wrote"


@dataclass(frozen=True)
class CalibrationCache:
    """Scales by tensor name, in the file's order.

    Attributes:
        version: digits of the TensorRT that wrote it, such as "8601".
        calibrator: such as "EntropyCalibration2" or "MinMaxCalibration".
    """

    version: str
    calibrator: str
    scales: dict[str, Scale]

    @property
    def origin(self) -> str:
        """Origin of the ranges, as plans record it."""
        return f"tensorrt-{self.calibrator}"


def read_calibration_cache(path: Path) -> CalibrationCache:
    """The cache in a file.

    A tensor whose scale is zero was zero on every image; it has no range.

    Raises:
        UserError: no such file, another format, or a scale that is not a finite number.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a calibration cache", why=str(error), fix=_FIX) from error
    header = _HEADER.fullmatch(lines[0].strip()) if lines else None
    if header is None:
        shown = repr(lines[0][:60]) if lines else "nothing"
        raise UserError(
            f"{path} is not a TensorRT calibration cache", why=f"it begins with {shown}, not TRT-…", fix=_FIX
        )
    scales: dict[str, Scale] = {}
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None:
            raise UserError(f"{path}, line {number}: {line[:60]!r}", why="not `name: eight hex digits`", fix=_FIX)
        name, value = found.group(1), struct.unpack(">f", bytes.fromhex(found.group(2)))[0]
        if not math.isfinite(value) or value < 0 or name in scales:
            why = "the tensor is listed twice" if name in scales else f"its scale is {value}"
            raise UserError(f"{path}, line {number}: {name}", why=why, fix="calibrate again, or correct that line")
        if value:
            scales[name] = Scale(np.array(value, np.float32))
    if not scales:
        raise UserError(f"{path} holds no ranges", fix=_FIX)
    return CalibrationCache(header.group(1), header.group(2), scales)
